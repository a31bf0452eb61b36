"""Accepts messages and sends them to the sessions of their receivers."""

from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from app.delivery.ack_manager import AckManager
from app.delivery.acknowledgements import Acknowledgements
from app.delivery.archive import Archive, NoArchive
from app.delivery.interest import Interest
from app.delivery.listeners import Listeners
from app.delivery.log import DeliveryLog, PushOutcome, Trace, broadcast_trace, digest_of
from app.delivery.mailbox import AGAIN, GIVEN, NEW, RETRY_AFTER_S, STORED, Kind, Mailbox, Placed
from app.delivery.observer import Observer
from app.delivery.own_push import OwnPush
from app.delivery.relay import Relay
from app.delivery.replay import Replay
from app.delivery.streams import Streams
from app.errors import IdConflict, Unavailable
from app.hub.hub import Hub
from app.hub.publication import Notice, Publication
from app.hub.session import Session
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.messages.topics import topic_destination
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner


class Delivery:
    def __init__(
        self,
        *,
        hub: Hub,
        acks: AckManager,
        mailbox: Mailbox,
        relay: Relay,
        log: DeliveryLog,
        clock: Clock,
        new_id: Callable[[], str],
        tasks: TaskOwner,
        archive: Archive | None = None,
        archive_limit: int = 0,
        observer: Observer | None = None,
    ) -> None:
        """`archive` has what was persisted; a new session gets at most `archive_limit` messages of it."""
        archive = archive or NoArchive()
        self._hub = hub
        self._acks = acks
        self._mailbox = mailbox
        self._relay = relay
        self._log = log
        self._clock = clock
        self.acknowledgements = Acknowledgements(
            acks=acks, mailbox=mailbox, log=log, clock=clock, archive=archive, observer=observer
        )
        self._listeners = Listeners(hub=hub, acks=acks, mailbox=mailbox, log=log, clock=clock, archive=archive)
        self.streams = Streams(
            mailbox=mailbox, relay=relay, listeners=self._listeners, restart=self._restart, tasks=tasks
        )
        self._replay = Replay(
            mailbox=mailbox,
            clock=clock,
            send=self._listeners.send_waiting,
            on_head=self.streams.read,
            take_broadcasts=hub.held.take,
            new_id=new_id,
            tasks=tasks,
            archive=archive,
            archive_limit=archive_limit,
        )
        self._interest = Interest(hub, relay, self.streams)
        self._pushing: set[str] = set()  # ids that their callers chose
        self.new_id = new_id
        relay.listen(self)

    # Pushing

    async def push(self, envelope: Envelope, *, given_id: bool = False, again: bool = False) -> PushOutcome:
        """Return once the message is safe and on its way to all sessions of its receiver.

        `given_id`: the caller chose the id. The same id with the same content answers as the first time and sends
        nothing, on every node, until the message expires. `again`: a persisted message that may have been pushed
        before. Raises InvalidMessage if the receiver cannot name a user, IdConflict for other content, InboxFull,
        Unavailable.
        """
        if not envelope.persisted:  # a stored one was checked before it was stored
            envelope = envelope.addressed()
        trace = Trace.of(envelope, digest_of(USER_MESSAGES, envelope.encoder) if given_id else None)
        if given_id and (replay := self._replayed(trace)):
            return replay
        envelope = envelope.without_data()
        known = self._log.get(trace.id)
        if known is not None and known.receiver == trace.receiver:
            known.digest = trace.digest
            trace = known  # it came from the archive, or through another node, or an earlier try failed
        else:
            self._log.add(trace)
        if not given_id:
            stored = STORED if envelope.persisted else NEW
            return await self._place(envelope, trace, AGAIN if again else stored)
        self._pushing.add(trace.id)
        try:
            return await self._place(envelope, trace, GIVEN)
        finally:
            self._pushing.discard(trace.id)

    def _replayed(self, again: Trace) -> PushOutcome | None:
        """Return the outcome of an earlier push of this id; None if this node knows of none."""
        if again.id in self._pushing:
            raise Unavailable(f"the id {again.id} is being pushed right now", retry_after_s=1)
        return self._log.replay(again)

    async def _place(self, envelope: Envelope, trace: Trace, kind: Kind) -> PushOutcome:
        keep = self._listeners.keep_for(envelope)
        push = OwnPush(self.streams, self._listeners, self._relay, envelope, trace, keep)
        digest = str(trace.digest) if kind is GIVEN else ""
        try:
            placed = await self._mailbox.put(
                envelope, keep=push.keep, kind=kind, digest=digest, on_accepted=push.on_accepted
            )
            if placed.known is not None:
                return self._known(placed, trace, kind)
        except BaseException:
            if not trace.attempts:
                self._log.discard(trace.id)
            raise
        if (barrier := self._relay.barrier()) is not None:
            await barrier
        if placed.unsafe is not None:  # it is on its way, and its caller has to try again all the same
            raise placed.unsafe
        status: Literal["sent", "stored"] = "sent" if push.sessions or placed.others else "stored"
        trace.outcome = outcome = PushOutcome(trace.id, trace.receiver, status, push.sessions)
        return outcome

    def _known(self, placed: Placed, trace: Trace, kind: Kind) -> PushOutcome:
        """Return the outcome of a push whose id the mailbox has accepted before, from this node or another."""
        if kind is GIVEN and placed.known != str(trace.digest):
            raise IdConflict(f"the id {trace.id} was pushed before with other content")
        if placed.unsafe is not None:
            raise placed.unsafe
        status: Literal["sent", "stored"] = "sent" if trace.attempts else "stored"
        trace.outcome = PushOutcome(trace.id, trace.receiver, status, len(trace.records))
        return replace(trace.outcome, replayed=True)

    async def broadcast(
        self, message: NotifyMessage, destination: str = USER_MESSAGES, *, given_id: bool = False
    ) -> PushOutcome:
        """Send to the present subscribers of `destination` on all nodes, at most once.

        A given id that was pushed before has the effect described at `push`. Raises InvalidMessage if no client can
        subscribe to the destination, IdConflict, Unavailable.
        """
        if destination != USER_MESSAGES:
            destination = topic_destination(destination)
        now_ms = self._clock.epoch_ms()
        encoder = MessageEncoder(message)
        trace = broadcast_trace(message, digest_of(destination, encoder), now_ms)
        if replay := self._replayed(trace):
            return replay
        self._log.add(trace)
        self._pushing.add(trace.id)
        body = encoder.encode(ack_retry_count=0, ack_last_sent=now_ms)
        try:
            publication = Publication(message_id=message.id, destination=destination, body=body)
            published = await self._relay.broadcast(publication, once=trace.digest if given_id else None)
            publication.seq = published.seq
            reached = 0 if published.is_repeat else await self._fan_out_own(publication)
        except BaseException:
            self._log.discard(trace.id)
            raise
        finally:
            self._pushing.discard(trace.id)
        trace.outcome = PushOutcome(trace.id, None, "sent", reached, published.is_repeat, published.unreached)
        return trace.outcome

    async def publish(self, publication: Publication) -> int:
        """Broadcast a body as it is, without an id that repeats. Return the number of sessions reached on this node."""
        if publication.destination != USER_MESSAGES:
            publication.destination = topic_destination(publication.destination)
        await self._relay.publish(publication)
        return await self._fan_out_own(publication)

    async def _fan_out_own(self, publication: Publication) -> int:
        """Send to the sessions of this node, after what arrived from other nodes before. Return their number."""
        if (barrier := self._relay.barrier()) is not None:
            await barrier
        return await self._fan_out(publication)

    async def _fan_out(self, publication: Publication) -> int:
        return await self._hub.fan_out(publication, may_wait=publication.destination == USER_MESSAGES)

    # What other nodes push

    def receive_message(self, envelope: Envelope, previous: int) -> None:
        if self.streams.accept(envelope.receiver, envelope.seq, previous):
            self._listeners.apply(envelope)

    async def receive_publication(self, publication: Publication) -> None:
        await self._fan_out(publication)

    def receive_notice(self, notice: Notice) -> None:
        self._withdraw_here(notice.user, notice.withdrawn)
        for session in self._hub.sessions_of(notice.user):
            session.publish(notice.publication)

    def lose(self, users: Sequence[str]) -> None:
        self.streams.lose(users)

    def resume(self, users: Sequence[str]) -> None:
        self.streams.resume(users)

    def _restart(self, user: str, seqs: Container[int]) -> Callable[[], None]:
        """Prepare replays after the mailbox has lost its data; the result starts them.

        Until then the sessions hold new messages. `seqs` belong to the new history: a session that has read the mailbox
        up to one of them, or not at all, needs no replay.
        """
        starts = [
            self._replay.restart(session)
            for session in self._listeners.of(user)
            if session.since is not None and session.since not in seqs
        ]

        def start() -> None:
            for start_one in starts:
                start_one()

        return start

    # Sessions

    def watch(self, session: Session, destination: str) -> Awaitable[None] | None:
        """Let pushes on any node reach the session. They do once the result has been awaited; None: they do already."""
        return self._interest.gain(session.user, destination)

    def begin_replay(self, session: Session) -> None:
        """From here on the session holds new messages."""
        self._replay.begin(session)

    def replay(self, session: Session) -> Awaitable[None] | None:
        """Read the mailbox of the session's user and start to send. Await the result until it is read, if any."""
        return self._replay.read(session)

    def leave(self, session: Session) -> None:
        """Release what a session holds that has gone or has unsubscribed from user messages."""
        session.replay = None
        self._acks.release(session)

    # Changes of other devices

    def withdraw(self, user: str, ids: Sequence[str]) -> None:
        """Stop sending messages that the user has seen or deleted to the sessions of this node."""
        for message_id in ids:
            self._mailbox.acknowledge(user, message_id)
        self._withdraw_here(user, ids)

    def _withdraw_here(self, user: str, ids: Sequence[str]) -> None:
        for session in self._hub.sessions_of(user):
            for message_id in ids:
                self._acks.withdraw(session, message_id)
                if session.replay is not None:
                    session.replay.withdrawn.add(message_id)

    def tell(self, message: NotifyMessage, *, withdrawn: Iterable[str] = ()) -> None:
        """Send a change to the receiver's present sessions on all nodes, at most once, and withdraw `withdrawn`."""
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

    def has_listener(self, user: str) -> bool:
        """Return whether a session of this node gets what is pushed to the user."""
        return self._hub.is_listening(user, USER_MESSAGES)

    def reaches(self, user: str) -> bool:
        """Return whether the user's sessions on other nodes can be reached."""
        return self._relay.reaches(user)

    def require_relay(self, user: str) -> None:
        """Raises Unavailable while the user's sessions on other nodes cannot be reached."""
        if not self._relay.reaches(user):
            raise Unavailable("the other nodes cannot be reached", retry_after_s=RETRY_AFTER_S)

    # Looking after

    async def sweep(self) -> None:
        """Resend what is due and drop what has expired. The retry job calls this."""
        await self._acks.sweep()
        self._mailbox.expire(self._clock.epoch_ms())

    def trace(self, message_id: str) -> Trace | None:
        return self._log.get(message_id)
