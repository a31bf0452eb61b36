"""The acknowledgements of clients: ACK, NACK and `/app/ack`."""

from collections.abc import Awaitable

from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive
from app.delivery.log import DeliveryLog, Trace
from app.delivery.mailbox import Mailbox
from app.delivery.observer import Acknowledged, Observer
from app.hub.session import Session
from app.timing.clock import Clock

MAX_UNKNOWN_ACKS = 1_000


class Acknowledgements:
    """Records an acknowledgement in the ledger, the delivery log, the mailbox and `archive`."""

    def __init__(
        self,
        *,
        acks: AckManager,
        mailbox: Mailbox,
        log: DeliveryLog,
        clock: Clock,
        archive: Archive,
        observer: Observer | None = None,
    ) -> None:
        self._acks = acks
        self._mailbox = mailbox
        self._log = log
        self._clock = clock
        self._observer = observer
        self._archive = archive

    def acknowledge_up_to(self, session: Session, message_id: str) -> None:
        """Acknowledge this message and all that were sent to the session before it."""
        for acknowledged in self._acks.up_to(session, message_id):
            self.acknowledge(session, acknowledged)

    def acknowledge(self, session: Session, message_id: str) -> None:
        """Acknowledge a message. Ids unknown to this node are accepted, MAX_UNKNOWN_ACKS of them for each session."""
        if self.acknowledge_known(session, message_id):
            return
        was_open = self._acks.acknowledge(session, message_id)  # the log may have forgotten what the ledger has
        session.unknown_acks += not was_open
        if was_open or session.unknown_acks <= MAX_UNKNOWN_ACKS:
            self._mailbox.acknowledge(session.user, message_id)
            self._archive.delivered(session.user, message_id)
            _take_from_replay(session, message_id)

    def acknowledge_known(self, session: Session, message_id: str) -> bool:
        """Acknowledge a message that the delivery log has. Return False, and do nothing, if it has none of this id."""
        trace = self._log.get(message_id)
        if trace is None:
            return False
        was_open = self._acks.acknowledge(session, message_id)
        self._mailbox.acknowledge(session.user, message_id)
        if not was_open and trace.receiver == session.user:  # it came on an earlier connection or subscription
            self._acknowledge_earlier(session, trace)
            _take_from_replay(session, message_id)
        if trace.persisted:
            self._archive.delivered(session.user, message_id)
        return True

    def _acknowledge_earlier(self, session: Session, trace: Trace) -> None:
        is_first, now_ms = trace.acked_ms is None, self._clock.epoch_ms()
        trace.acknowledge(session.id, now_ms)
        if is_first and self._observer is not None:
            self._observer(Acknowledged(trace.id, trace.type, session.user, session.id, None, now_ms))

    def confirmation(self, session: Session, message_id: str) -> Awaitable[None] | None:
        """Return an awaitable that completes when the acknowledgement survives a crash of this node; None if it does.

        Mailbox and archive are both awaited: the mailbox forgets acknowledgements before the archive drops messages.
        """
        in_mailbox = self._mailbox.confirmation(session.user, message_id)
        in_archive = self._archive.confirmation(session.user, message_id)
        return _both(in_mailbox, in_archive) if in_mailbox and in_archive else in_mailbox or in_archive

    def nack(self, session: Session, message_id: str, *, cumulative: bool = False) -> None:
        """Resend one message, or with `cumulative` all up to it, after the retry interval."""
        for refused in self._acks.up_to(session, message_id) if cumulative else (message_id,):
            self._acks.nack(session, refused)


def _take_from_replay(session: Session, message_id: str) -> None:
    """Keep a running replay from sending a message that it may have read already."""
    if session.replay is not None:
        session.replay.withdrawn.add(message_id)


async def _both(first: Awaitable[None], second: Awaitable[None]) -> None:
    await first
    await second
