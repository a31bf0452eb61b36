"""What waits for a user is sent to a session that comes."""

import asyncio
from collections.abc import Callable, Sequence
from heapq import merge

from msgspec.structs import replace
from pydantic_core import to_json

from app.clock import Clock
from app.delivery.archive import Archive, NoArchive
from app.delivery.inbox import Inbox
from app.disconnects import SLOW_CONSUMER
from app.errors import Unavailable
from app.hub.publication import Publication
from app.hub.session import Draining, Session
from app.messages.destinations import USER_ERRORS, USER_MESSAGES
from app.messages.message import Envelope
from app.tasks import TaskOwner

RETRY_S = 1.0
ARCHIVE_PATIENCE_S = 1.0  # so long does what is in the inbox wait for what is in the archive
MAX_HELD = 1_000  # messages that come while a session takes the older ones
RESUME_SLICE, RESUME_PAUSE_S = 50, 0.025  # sessions that are drained at once after the relay was away
SLICE = 50  # messages that one session is sent before the loop gets a turn


class Drain:
    """`send` sends one message to one session, unless it has it already."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        clock: Clock,
        send: Callable[[Session, Envelope], None],
        new_id: Callable[[], str],
        tasks: TaskOwner,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._send = send
        self._new_id = new_id
        self._tasks = tasks
        self._archive: Archive = NoArchive()
        self._archive_limit = 0
        self._runs: dict[str, Draining] = {}  # by session: what its latest run has in hand
        self._reads: set[asyncio.Future[tuple[Sequence[Envelope], int]]] = set()  # of the archive, until they end

    def use_archive(self, archive: Archive, *, limit: int) -> None:
        self._archive, self._archive_limit = archive, limit

    def begin(self, session: Session) -> None:
        """From here on new messages wait for `run`."""
        session.draining = Draining()

    def resume(self, sessions: Sequence[Session]) -> None:
        """Begins for all of them at once, so that nothing overtakes, and runs for one slice after the other."""
        for session in sessions:
            self.begin(session)
        self._tasks.start(self._run_all(sessions), "drains after a loss of the relay")

    async def _run_all(self, sessions: Sequence[Session]) -> None:
        for count, session in enumerate(sessions, start=1):
            if session.live:
                self._tasks.start(self.run(session), f"drain to session {session.id}")
            if count % RESUME_SLICE == 0:
                await asyncio.sleep(RESUME_PAUSE_S)

    def hold(self, session: Session, draining: Draining, envelope: Envelope) -> None:
        """Until the older ones have been sent."""
        draining.held.append(envelope)
        if len(draining.held) > MAX_HELD:
            session.end(SLOW_CONSUMER)

    async def run(self, session: Session) -> None:
        """Sends all that waits in the inbox and the archive, oldest first, no faster than the session takes it.

        What it has been sent already and not acknowledged is left to the retries. While inbox or archive cannot be
        read, new messages go on.
        """
        draining = session.draining
        if draining is None or self._runs.get(session.id) is draining:
            return  # it was over before it began, or, begun twice in one tick, is another run's already
        self._runs[session.id] = draining
        try:
            while not await self._drain_safely(session, draining):
                await asyncio.sleep(RETRY_S)
                replaced = session.draining is not None or self._runs.get(session.id) is not draining
                if replaced or not session.listens_to(USER_MESSAGES):
                    return
                session.draining = draining
        finally:
            if self._runs.get(session.id) is draining:
                del self._runs[session.id]

    async def _drain_safely(self, session: Session, draining: Draining) -> bool:
        try:
            return await self._drain_once(session, draining)
        finally:
            if session.draining is draining:
                self._let_go(session, draining)

    def _let_go(self, session: Session, draining: Draining) -> None:
        """It failed: new messages must not wait for ever, and those that did are sent after all."""
        session.draining = None
        held, draining.held = draining.held, []
        for envelope in held:
            if session.listens_to(USER_MESSAGES) and envelope.message.id not in draining.withdrawn:
                self._send(session, envelope)

    async def _drain_once(self, session: Session, draining: Draining) -> bool:
        """False if not everything could be read. From its end on the session gets new messages at once."""
        archived, left_over, complete = await self._archived(session.user)
        try:
            transient = await self._inbox.pending(session.user, self._clock.epoch_ms())
        except Unavailable:
            transient, complete = (), False
        # What came since the drain began was heard here, and held: nobody was sent it before.
        new = {envelope.message.id for envelope in draining.held}
        transient = [replace(one, was_sent=False) if one.message.id in new else one for one in transient]
        # Each in its own order, which the clocks of several nodes must not change.
        envelopes: Sequence[Envelope] = [*merge(transient, archived, key=lambda envelope: envelope.message.created)]
        while await self._send_slowly(session, draining, envelopes):
            if not draining.held:
                break
            envelopes, draining.held = draining.held, []
        else:
            return True
        session.draining = None
        self._tell_left_over(session, left_over)
        return complete

    async def _archived(self, user: str) -> tuple[Sequence[Envelope], int, bool]:
        """What waits there, how many more do, and whether that could be found out."""
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + ARCHIVE_PATIENCE_S
        try:
            if not await self._archive.holds_for(user, patience_s=ARCHIVE_PATIENCE_S):
                return (), 0, True
        except Unavailable:
            return (), 0, False
        return await self._read_archive(user, patience_s=deadline_s - now_s())

    async def _read_archive(self, user: str, *, patience_s: float) -> tuple[Sequence[Envelope], int, bool]:
        read = asyncio.ensure_future(self._archive.pending(user, limit=self._archive_limit))
        self._reads.add(read)
        read.add_done_callback(self._forget)
        try:
            await asyncio.wait([read], timeout=patience_s)
            return (*read.result(), True) if read.done() else ((), 0, False)
        except Unavailable:
            return (), 0, False
        finally:
            read.cancel()  # and no wait for its end: to let go of a database that hangs takes seconds of its own
            del read  # it may hold an error, which holds this frame

    def _forget(self, read: asyncio.Future[tuple[Sequence[Envelope], int]]) -> None:
        """Nobody else may be there to take its error, and that would be logged as a defect."""
        self._reads.discard(read)
        if not read.cancelled():
            read.exception()

    async def _send_slowly(self, session: Session, draining: Draining, envelopes: Sequence[Envelope]) -> bool:
        """False if the session has gone, or drains anew, before the end."""
        for count, envelope in enumerate(envelopes, start=1):
            if count % SLICE == 0:
                await asyncio.sleep(0)
            await session.transport.writable()
            if session.draining is not draining:
                return False
            if envelope.message.id not in draining.withdrawn:
                self._send(session, envelope)
        return session.draining is draining

    def _tell_left_over(self, session: Session, count: int) -> None:
        if count:
            detail = f"{count} more messages that were not acknowledged are in the history"
            publication = Publication(
                message_id=self._new_id(), destination=USER_ERRORS, body=to_json({"detail": detail, "more": count})
            )
            session.publish(publication)
