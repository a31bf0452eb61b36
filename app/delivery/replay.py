"""Replays mailbox and archive to a session that has just subscribed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pydantic_core import to_json

from app.delivery.archive import Archive
from app.delivery.mailbox import Mailbox
from app.delivery.merge import merge
from app.errors import Unavailable
from app.hub.publication import Publication
from app.hub.session import Replaying, Session
from app.messages.destinations import USER_ERRORS, USER_MESSAGES
from app.messages.message import Envelope
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

RETRY_S = 1.0  # until the archive is asked again
READ_RETRY_S = 0.25  # until the mailbox is
ARCHIVE_TIMEOUT_S = 1.0  # so long do the messages of the mailbox wait for those of the archive
SLICE = 50  # messages that one session is sent before the loop gets a turn

Found = tuple[Sequence[Envelope], int, bool]
"""What the archive has for a user, how many more there are, and whether all of it could be read."""


class Replay:
    """Runs the replays of this node.

    `send` sends one message to one session, unless the session has it. `on_head`: see `Streams.read`.
    `take_broadcasts` removes and returns the held broadcasts of a session up to a seq.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        clock: Clock,
        send: Callable[[Session, Envelope], None],
        on_head: Callable[[str, int], None],
        take_broadcasts: Callable[[Session, int], Sequence[Publication]],
        new_id: Callable[[], str],
        tasks: TaskOwner,
        archive: Archive,
        archive_limit: int,
    ) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._send = send
        self._on_head = on_head
        self._take_broadcasts = take_broadcasts
        self._new_id = new_id
        self._tasks = tasks
        self._archive = archive
        self._archive_limit = archive_limit
        self._running: dict[str, Replaying] = {}  # by session: the latest, also while it waits for the archive
        self._reads: set[asyncio.Future[tuple[Sequence[Envelope], int]]] = set()  # of the archive, until they end

    # From SUBSCRIBE to the reading of the mailbox

    def begin(self, session: Session) -> None:
        """From here on the session holds new messages."""
        session.replay, session.since = Replaying(), None
        session.subscribed_ms = self._clock.epoch_ms()

    def restart(self, session: Session) -> Callable[[], None]:
        """Begin a new replay that keeps what the session holds. The result reads the mailbox and starts it.

        The session listened before, so it also needs messages that other sessions have acknowledged.
        """
        replay, since = Replaying(held=session.replay.held if session.replay else []), session.since or 0
        session.replay, session.since = replay, 0

        def start() -> None:
            seqs = {one.seq for one in replay.held if isinstance(one, Envelope)}
            if since in seqs and session.replay is replay:  # it had read the new mailbox up to here
                session.since = since
                replay.held = [one for one in replay.held if isinstance(one, Publication) or one.seq > since]
            self._tasks.start(self._read_until_done(session, replay), f"replay to session {session.id}")

        return start

    def read(self, session: Session) -> Awaitable[None] | None:
        """Read the mailbox, then start to send. Await the result until the mailbox is read; None if it is.

        A failed read is repeated as long as the session listens.
        """
        replay = session.replay
        if replay is None:  # the session has gone
            return None
        reading = self._read_once(session, replay)
        if isinstance(reading, Sequence):
            self._take(session, replay, reading)
            return None
        return self._read_until_done(session, replay, reading)

    def _read_once(self, session: Session, replay: Replaying) -> Sequence[Envelope] | Awaitable[Sequence[Envelope]]:
        user = session.user

        def on_head(head: int) -> None:
            replay.head = replay.head or head
            if session.replay is replay and session.since is None:  # what comes after the first of two readings is held
                session.since = head
            self._on_head(user, head)

        return self._mailbox.read(user, self._clock.epoch_ms(), on_head)

    async def _read_until_done(
        self, session: Session, replay: Replaying, reading: Awaitable[Sequence[Envelope]] | None = None
    ) -> None:
        while session.replay is replay:
            try:
                waiting = await (reading or self._reread(session, replay))
            except Unavailable:
                reading = None
                await asyncio.sleep(READ_RETRY_S)
            else:
                self._take(session, replay, waiting)
                return

    async def _reread(self, session: Session, replay: Replaying) -> Sequence[Envelope]:
        reading = self._read_once(session, replay)
        return reading if isinstance(reading, Sequence) else await reading

    def _take(self, session: Session, replay: Replaying, waiting: Sequence[Envelope]) -> None:
        """Start to send, unless another read for the same replay came first."""
        if session.replay is replay and self._running.get(session.id) is not replay:
            replay.waiting = waiting
            replay.held = _without_acknowledged(replay.held, waiting, session.since or 0)
            self._running[session.id] = replay
            self._tasks.start(self._run(session, replay), f"replay to session {session.id}")

    # Sending

    async def _run(self, session: Session, replay: Replaying) -> None:
        """Send the messages of mailbox and archive in their order, no faster than the session takes them.

        Messages that the session has been sent are left to the retries. If the archive cannot be read, new messages go
        out, and the archive is read again later.
        """
        try:
            while not await self._run_safely(session, replay):
                await asyncio.sleep(RETRY_S)
                is_replaced = session.replay is not None or self._running.get(session.id) is not replay
                if is_replaced or not session.listens_to(USER_MESSAGES):
                    return
                session.replay = replay
        finally:
            if self._running.get(session.id) is replay:
                del self._running[session.id]

    async def _run_safely(self, session: Session, replay: Replaying) -> bool:
        try:
            return await self._run_once(session, replay)
        finally:
            if session.replay is replay:
                self._release(session, replay)

    def _release(self, session: Session, replay: Replaying) -> None:
        """End a failed replay and send what it held."""
        session.replay = None
        held, replay.held = replay.held, []
        for message in held:
            self._send_one(session, replay, message)

    async def _run_once(self, session: Session, replay: Replaying) -> bool:
        """Send everything, then let new messages through. Return False if the archive could not be read."""
        archived, left_over, complete = await self._archived(session.user)
        replay.held += self._take_broadcasts(session, replay.head)
        messages = merge(replay.waiting, archived, replay.held, replay.head, limit=self._archive_limit)
        replay.waiting, replay.held = (), []
        while await self._send_slowly(session, replay, messages):
            if not replay.held:
                break
            messages, replay.held = merge((), (), replay.held, replay.head), []
        else:
            return True
        session.replay = None
        self._tell_left_over(session, left_over)
        return complete

    async def _send_slowly(
        self, session: Session, replay: Replaying, messages: Sequence[Envelope | Publication]
    ) -> bool:
        """Send the messages. Return False if the session ends or begins another replay meanwhile."""
        for count, message in enumerate(messages, start=1):
            if count % SLICE == 0:
                await asyncio.sleep(0)
            await session.transport.writable()
            if session.replay is not replay:
                return False
            self._send_one(session, replay, message)
        return session.replay is replay

    def _send_one(self, session: Session, replay: Replaying, message: Envelope | Publication) -> None:
        if not session.listens_to(USER_MESSAGES):
            return
        if isinstance(message, Publication):
            session.publish(message)
        elif message.message.id not in replay.withdrawn:
            self._send(session, message)

    def _tell_left_over(self, session: Session, count: int) -> None:
        if count:
            detail = f"{count} more messages that were not acknowledged are in the history"
            publication = Publication(
                message_id=self._new_id(), destination=USER_ERRORS, body=to_json({"detail": detail, "more": count})
            )
            session.publish(publication)

    # The archive

    async def _archived(self, user: str) -> Found:
        """Return what the archive has, without messages whose acknowledgements it may not have yet."""
        try:
            envelopes, left_over, complete = await self._find(user)
            if not envelopes:
                return envelopes, left_over, complete
            gone = await self._mailbox.acknowledged(user, [envelope.message.id for envelope in envelopes])
        except Unavailable:
            return (), 0, False
        return [one for one, is_gone in zip(envelopes, gone, strict=True) if not is_gone], left_over, complete

    async def _find(self, user: str) -> Found:
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + ARCHIVE_TIMEOUT_S
        if not await self._archive.holds_for(user, timeout_s=ARCHIVE_TIMEOUT_S):
            return (), 0, True
        return await self._read_archive(user, timeout_s=deadline_s - now_s())

    async def _read_archive(self, user: str, *, timeout_s: float) -> Found:
        read = asyncio.ensure_future(self._archive.pending(user, limit=self._archive_limit))
        self._reads.add(read)
        read.add_done_callback(self._forget)
        try:
            await asyncio.wait([read], timeout=timeout_s)
            return (*read.result(), True) if read.done() else ((), 0, False)
        finally:
            read.cancel()  # without waiting for its end: to give up a database that hangs takes seconds of its own
            del read  # it may hold an error, which holds this frame

    def _forget(self, read: asyncio.Future[tuple[Sequence[Envelope], int]]) -> None:
        """Retrieve the error of a read, which asyncio would log as never retrieved."""
        self._reads.discard(read)
        if not read.cancelled():
            read.exception()


def _without_acknowledged(
    held: Sequence[Envelope | Publication], waiting: Sequence[Envelope], since: int
) -> list[Envelope | Publication]:
    """Drop held messages that were acknowledged before the mailbox was read: a new session does not need them."""
    ids = {envelope.message.id for envelope in waiting}
    return [
        one
        for one in held
        if isinstance(one, Publication) or not one.acknowledged or one.seq > since or one.message.id in ids
    ]
