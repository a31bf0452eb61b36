"""The sessions of this node that listen to their user's messages, and what each of them has been sent."""

from collections.abc import Sequence

from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive
from app.delivery.log import DeliveryLog, Trace
from app.delivery.mailbox import ALWAYS, NEVER, UNHEARD, Keep, Mailbox
from app.disconnects import RESTART
from app.hub.hub import Hub
from app.hub.session import Session
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope
from app.timing.clock import Clock


class Listeners:
    """Sends messages to the listening sessions of this node. `archive` learns which are sent for the first time."""

    def __init__(
        self, *, hub: Hub, acks: AckManager, mailbox: Mailbox, log: DeliveryLog, clock: Clock, archive: Archive
    ) -> None:
        self._hub = hub
        self._acks = acks
        self._mailbox = mailbox
        self._log = log
        self._clock = clock
        self._archive = archive

    def of(self, user: str) -> Sequence[Session]:
        """Return the listening sessions of the user, oldest first."""
        return [session for session in self._hub.sessions_of(user) if session.listens_to(USER_MESSAGES)]

    def keep_for(self, envelope: Envelope) -> Keep:
        """Return when the inbox keeps a message that is pushed on this node."""
        if envelope.persisted:
            return NEVER
        if envelope.acknowledged:
            return ALWAYS
        return NEVER if self._hub.is_listening(envelope.receiver, USER_MESSAGES) else UNHEARD

    def apply(self, envelope: Envelope) -> None:
        """Send a message of another node, the next in its receiver's order, unless it has expired."""
        if envelope.persisted or envelope.expires_ms > self._clock.epoch_ms():
            self.send(envelope, self._log.trace_of(envelope))
        else:
            self._hub.held.release(envelope.receiver, envelope.seq)

    def send(self, envelope: Envelope, trace: Trace) -> int:
        """Send to the sessions of this node. Return the number of sessions."""
        receiver, seq, held = envelope.receiver, envelope.seq, self._hub.held
        if held.by_user:
            held.release(receiver, seq)
        sending, count = None, 0
        is_new = trace.is_new  # or a replay may have found it before
        for session in self._hub.sessions_of(receiver):
            if USER_MESSAGES not in session.subscribers:
                continue
            if session.since is not None and seq <= session.since:
                continue  # its mailbox was read after this message
            if envelope.acked_ms and session.subscribed_ms >= envelope.acked_ms:
                continue  # it subscribed after a device had acknowledged the message
            if session.replay is not None:
                session.hold(envelope)
            elif is_new or not self._has(session, trace):
                sending = sending or self._acks.prepare(envelope, trace)
                self._acks.send(session, sending)
            count += 1
        return count

    def hold_broadcasts(self, user: str) -> None:
        """Hold broadcasts to the user's sessions while older messages of the user are missing."""
        self._hub.held.begin(user)

    def release_broadcasts(self, user: str) -> None:
        """Send the held broadcasts: no message of the user is missing."""
        self._hub.held.end(user)

    def lose(self, user: str) -> None:
        """End the user's sessions, which may have missed messages. Their clients reconnect and get a replay."""
        for session in self.of(user):
            if session.since is not None:
                session.end(RESTART)

    def send_waiting(self, session: Session, envelope: Envelope) -> None:
        """Send one message of a replay, unless the session has it."""
        if not envelope.persisted and envelope.expires_ms <= self._clock.epoch_ms():
            return  # it expired while the session took the older ones
        trace = self._log.trace_of(envelope)
        if self._has(session, trace):
            return
        if envelope.persisted and not envelope.was_sent and not trace.attempts:
            self._archive.replayed(trace.id)
        trace.attempts = max(trace.attempts, int(envelope.was_sent))
        self._acks.send(session, self._acks.prepare(envelope, trace))
        if not envelope.acknowledged:
            self._mailbox.acknowledge(session.user, trace.id)

    def _has(self, session: Session, trace: Trace) -> bool:
        """Return whether the session was sent the message and needs no more of it from a replay."""
        if self._acks.is_open(session, trace.id):
            return True
        record = trace.records.get(session.id)
        return record is not None and (record.acked_ms is not None or not trace.acknowledged)
