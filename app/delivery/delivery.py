"""Takes messages in and brings them to sessions: the service that everything that pushes calls."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from app.clock import Clock
from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive, NoArchive
from app.delivery.drain import Drain
from app.delivery.inbox import RETRY_AFTER_S, Inbox, Keep
from app.delivery.interest import Interest
from app.delivery.log import DeliveryLog, PushOutcome, Trace, broadcast_trace, digest_of
from app.delivery.relay import Relay
from app.errors import Unavailable
from app.hub.hub import Hub
from app.hub.publication import Notice, Publication
from app.hub.session import Session
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.tasks import TaskOwner

MAX_UNKNOWN_ACKS = 1_000


class Delivery:
    def __init__(
        self,
        *,
        hub: Hub,
        acks: AckManager,
        inbox: Inbox,
        relay: Relay,
        log: DeliveryLog,
        clock: Clock,
        new_id: Callable[[], str],
        tasks: TaskOwner,
    ) -> None:
        self._hub = hub
        self._acks = acks
        self._inbox = inbox
        self._relay = relay
        self._log = log
        self._clock = clock
        self._archive: Archive = NoArchive()
        self._drain = Drain(inbox=inbox, clock=clock, send=self._send_pending, new_id=new_id, tasks=tasks)
        self._interest = Interest(hub, relay)
        self.new_id = new_id
        relay.listen(self)

    def use_archive(self, archive: Archive, *, limit: int) -> None:
        """From here on `archive` has what was persisted; a session that comes gets at most `limit` of it."""
        self._archive = archive
        self._drain.use_archive(archive, limit=limit)

    # Pushing

    async def push(self, envelope: Envelope, *, given_id: bool = False) -> PushOutcome:
        """Returns once the message is safe and on its way to all sessions of its receiver.

        `given_id`: the caller chose the id. The same id with the same content answers as the first time and
        sends nothing. Raises IdConflict for other content, InboxFull, Unavailable.
        """
        trace = Trace.of(envelope, digest_of(USER_MESSAGES, envelope.encoder) if given_id else None)
        if given_id and (replay := self._log.replay(trace)):
            return replay
        envelope = envelope.without_data()
        known = self._log.get(trace.id)
        if known is not None and known.receiver == trace.receiver:
            trace = known  # a drain found it in the archive before it was pushed
        else:
            self._log.add(trace)
        try:
            return await self._place(envelope, trace, given_id)
        except BaseException:
            self._log.discard(trace.id)
            raise

    async def _place(self, envelope: Envelope, trace: Trace, given_id: bool) -> PushOutcome:
        keep = self._keep(envelope)
        placed = await self._inbox.put(envelope, keep=keep)
        if given_id and placed.known is not None:
            outcome = self._known_elsewhere(placed.known, trace)
            if placed.unsafe is not None:
                raise placed.unsafe
            return outcome
        if (turn := self._relay.turn()) is not None:
            await turn
        # What was kept because nobody heard it is sent to whoever comes, by his drain.
        sessions = 0 if keep is Keep.UNHEARD and placed.kept else self._send_here(envelope, trace)
        if placed.unsafe is not None:  # the other nodes have it, and a retry on one of them would not bring it here
            raise placed.unsafe
        status: Literal["sent", "stored"] = "sent" if sessions or placed.others else "stored"
        trace.outcome = outcome = PushOutcome(trace.id, trace.receiver, status, sessions)
        return outcome

    def _known_elsewhere(self, known: Envelope, again: Trace) -> PushOutcome:
        """The inbox has the id already: another node has accepted it, or this one, and did not hear that it had."""
        again.compare(digest_of(USER_MESSAGES, known.encoder))
        again.attempts = int(known.was_sent)
        sessions = self._send_here(known, again)
        status: Literal["sent", "stored"] = "sent" if sessions else "stored"
        again.outcome = PushOutcome(id=again.id, receiver=again.receiver, status=status, sessions=sessions)
        return replace(again.outcome, replayed=True)

    def _keep(self, envelope: Envelope) -> Keep:
        if envelope.persisted:
            return Keep.NEVER
        if envelope.acknowledged:
            return Keep.ALWAYS
        return Keep.NEVER if self._hub.is_listening(envelope.receiver, USER_MESSAGES) else Keep.UNHEARD

    def _send_here(self, envelope: Envelope, trace: Trace) -> int:
        """To the sessions of this node; to how many."""
        sending, count = None, 0
        is_new = trace.is_new  # or a drain may have found it in the inbox before the push came back
        for session in self._hub.sessions_of(envelope.receiver):
            if not session.listens_to(USER_MESSAGES):
                continue
            if session.draining is not None and envelope.acknowledged:
                self._drain.hold(session, session.draining, envelope)
            elif is_new or not self._has(session, trace):
                sending = sending or self._acks.prepare(envelope, trace)
                self._acks.send(session, sending)
            count += 1
        return count

    async def broadcast(
        self, message: NotifyMessage, destination: str = USER_MESSAGES, *, given_id: bool = False
    ) -> PushOutcome:
        """To all that listen to `destination` on all nodes now, at most once.

        A given id that was pushed before answers as with `push`. Raises IdConflict, Unavailable.
        """
        now_ms = self._clock.epoch_ms()
        encoder = MessageEncoder(message)
        trace = broadcast_trace(message, digest_of(destination, encoder), now_ms)
        if replay := self._log.replay(trace):
            return replay
        self._log.add(trace)
        body = encoder.encode(ack_retry_count=0, ack_last_sent=now_ms)
        try:
            publication = Publication(message_id=message.id, destination=destination, body=body)
            published = await self._relay.broadcast(publication, once=trace.digest if given_id else None)
            reached = 0 if published.is_repeat else await self._fan_out(publication)
        except BaseException:
            self._log.discard(trace.id)
            raise
        trace.outcome = PushOutcome(trace.id, None, "sent", reached, published.is_repeat, published.unreached)
        return trace.outcome

    async def publish(self, publication: Publication) -> int:
        """As `broadcast`, for a body that goes out as it is. How many sessions of this node got it."""
        await self._relay.publish(publication)
        return await self._fan_out(publication)

    async def _fan_out(self, publication: Publication) -> int:
        """To the sessions of this node, behind what came from others before: how many."""
        if (turn := self._relay.turn()) is not None:
            await turn
        return await self._hub.fan_out(publication)

    # What other nodes push

    def receive_message(self, envelope: Envelope) -> None:
        self._send_here(envelope, self._log.trace_of(envelope))

    async def receive_publication(self, publication: Publication) -> None:
        await self._hub.fan_out(publication)

    def receive_notice(self, notice: Notice) -> None:
        self._let_go(notice.user, notice.withdrawn)
        for session in self._hub.sessions_of(notice.user):
            session.publish(notice.publication)

    def resume(self, users: Sequence[str]) -> None:
        """Drains their inboxes anew; what comes from now on waits until that is done, so that nothing overtakes."""
        sessions = [
            session for user in users for session in self._hub.sessions_of(user) if session.listens_to(USER_MESSAGES)
        ]
        self._drain.resume(sessions)

    # Sessions

    def watch(self, session: Session, destination: str) -> Awaitable[None] | None:
        """Once what is answered has been awaited, the session gets what is pushed to the destination on any node."""
        return self._interest.gain(session.user, destination)

    def begin_drain(self, session: Session) -> None:
        """From here on new messages wait for `drain`."""
        self._drain.begin(session)

    async def drain(self, session: Session) -> None:
        """Sends all that waits for the user of the session; see `Drain.run`."""
        await self._drain.run(session)

    def _send_pending(self, session: Session, envelope: Envelope) -> None:
        if not envelope.persisted and envelope.expires_ms <= self._clock.epoch_ms():
            return  # it expired while the session took the older ones
        trace = self._log.trace_of(envelope)
        if self._has(session, trace):
            return
        trace.attempts = max(trace.attempts, int(envelope.was_sent))
        self._acks.send(session, self._acks.prepare(envelope, trace))
        if not envelope.acknowledged:
            self._inbox.remove(session.user, trace.id)

    def _has(self, session: Session, trace: Trace) -> bool:
        """Whether the message is on its way to this session, or was acknowledged by it."""
        record = trace.records.get(session.id)
        return self._acks.is_open(session, trace.id) or (record is not None and record.acked_ms is not None)

    def leave(self, session: Session) -> None:
        """The session is gone, or listens to user messages no more."""
        session.draining = None
        self._acks.release(session)

    # Acknowledgements

    def acknowledge_up_to(self, session: Session, message_id: str) -> None:
        """This message and all that was sent to the session before it."""
        for acknowledged in self._acks.up_to(session, message_id):
            self.acknowledge(session, acknowledged)

    def acknowledge(self, session: Session, message_id: str) -> None:
        """Unknown ids are no error: of before a restart, or made up, so that a session has only so many of them."""
        if self.acknowledge_known(session, message_id):
            return
        self._acks.acknowledge(session, message_id)
        self._inbox.remove(session.user, message_id)
        session.unknown_acks += 1
        if session.unknown_acks <= MAX_UNKNOWN_ACKS:
            self._archive.delivered(session.user, message_id)

    def acknowledge_known(self, session: Session, message_id: str) -> bool:
        """As `acknowledge`. False, and nothing was done, if no message of this id was pushed or sent here lately."""
        trace = self._log.get(message_id)
        if trace is None:
            return False
        was_open = self._acks.acknowledge(session, message_id)
        self._inbox.remove(session.user, message_id)
        if not was_open and trace.acked_ms is None and trace.receiver == session.user:
            trace.acked_ms = self._clock.epoch_ms()  # a device acknowledges anew what came on an earlier connection
        if trace.persisted:
            self._archive.delivered(session.user, message_id)
        return True

    def refuse(self, session: Session, message_id: str, *, cumulative: bool = False) -> None:
        """NACK: the record becomes due again after the retry interval."""
        for refused in self._acks.up_to(session, message_id) if cumulative else (message_id,):
            self._acks.postpone(session, refused)

    # Changes of other devices

    def withdraw(self, user: str, ids: Sequence[str]) -> None:
        """The user has seen or deleted these: no session of this node is sent them again."""
        for message_id in ids:
            self._inbox.remove(user, message_id)
        self._let_go(user, ids)

    def _let_go(self, user: str, ids: Sequence[str]) -> None:
        for session in self._hub.sessions_of(user):
            for message_id in ids:
                self._acks.withdraw(session, message_id)
                if session.draining is not None:
                    session.draining.withdrawn.add(message_id)

    def tell(self, message: NotifyMessage, *, withdrawn: Iterable[str] = ()) -> None:
        """To the sessions of its receiver that are there now, at most once; none is sent the `withdrawn` any more."""
        assert message.receiver is not None, "a change is one user's"
        body = MessageEncoder(message).encode(ack_retry_count=0, ack_last_sent=self._clock.epoch_ms())
        notice = Notice(
            user=message.receiver,
            publication=Publication(message_id=message.id, destination=USER_MESSAGES, body=body),
            withdrawn=tuple(withdrawn),
        )
        self.withdraw(notice.user, notice.withdrawn)
        self.receive_notice(notice)
        self._relay.tell(notice)

    def require_relay(self, user: str) -> None:
        """Raises Unavailable while the user's sessions on other nodes cannot be reached."""
        if not self._relay.reaches(user):
            raise Unavailable("the other nodes cannot be reached", retry_after_s=RETRY_AFTER_S)

    # Looking after

    async def sweep(self) -> None:
        """What the retry job does: resends what is due, lets go of what expired."""
        await self._acks.sweep()
        self._inbox.expire(self._clock.epoch_ms())

    def trace(self, message_id: str) -> Trace | None:
        return self._log.get(message_id)

    @property
    def traces(self) -> int:
        return len(self._log)
