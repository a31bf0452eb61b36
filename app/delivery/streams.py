"""The order of messages: the one rule by which they reach the sessions of this node.

For each user with a listening session the node keeps a cursor, the seq of the last message that it applied. Each
message names the seq before its own, so a gap shows; then the node asks the mailbox for what it missed. Where that
cannot be told, the sessions of that user end with 1012: they reconnect, and their mailbox is replayed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Sequence
from functools import partial

from app.delivery.listeners import Listeners
from app.delivery.mailbox import Mailbox, Missed
from app.delivery.relay import Relay
from app.errors import Unavailable
from app.timing.tasks import TaskOwner

SLICE, PAUSE_S = 50, 0.002  # users that catch up at once, and the time that others get between two slices
RETRY_S = 0.25

logger = logging.getLogger(__name__)


class Stream:
    """`cursor` None: the mailbox has not been read yet.

    While it is catching up, live messages are dropped: the answer includes them. Broadcasts wait, and are sent in their
    place. `is_away`: the relay is away, and what is published does not arrive. `is_stale`: the answer that is awaited
    may be from before a loss of the relay. `replay` is called when it has caught up with a new history.
    """

    __slots__ = ("cursor", "is_away", "is_catching_up", "is_stale", "replay")

    def __init__(self) -> None:
        self.cursor: int | None = None
        self.is_away = False
        self.is_catching_up = False
        self.is_stale = False
        self.replay: Callable[[], None] | None = None


class Streams:
    """`restart` is called with a user whose mailbox has lost its data, and seqs that it has now.

    Sessions that have not read it up to one of these hold what is applied from then on.
    When all of it was applied, the result of `restart` is called: what the mailbox has now is to be replayed.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        relay: Relay,
        listeners: Listeners,
        restart: Callable[[str, Container[int]], Callable[[], None]],
        tasks: TaskOwner,
    ) -> None:
        self._mailbox = mailbox
        self._relay = relay
        self._listeners = listeners
        self._restart = restart
        self._tasks = tasks
        self._streams: dict[str, Stream] = {}
        self._behind: deque[str] = deque()
        self._worker: asyncio.Task[None] | None = None

    def open(self, user: str) -> None:
        """Follow the user's messages: a session listens. A second call changes nothing."""
        if user not in self._streams:
            self._streams[user] = Stream()
            self._mailbox.watch(user)

    def close(self, user: str) -> None:
        """Stop following the user's messages: no session listens."""
        if self._streams.pop(user, None) is not None:
            self._mailbox.unwatch(user)
            self._listeners.release_broadcasts(user)

    # In the order of the store

    def accept(self, user: str, seq: int, previous: int) -> bool:
        """Return whether a message that arrives is the next one, and is to be applied now.

        `previous` below 0: it comes from a node of an earlier version, outside the order.
        """
        stream = self._streams.get(user)
        if stream is None:
            return False
        if stream.cursor is None or previous < 0:
            return True  # until the mailbox has been read all sessions hold it
        if seq <= stream.cursor or stream.is_catching_up:
            return False
        if previous != stream.cursor:
            self._catch_up(user, stream)
            return False
        stream.cursor = seq
        return True

    def read(self, user: str, head: int) -> None:
        """Compare the cursor with the head of the mailbox, which arrives after all that was published before it."""
        self._relay.in_order(partial(self._check, user, head))

    def _check(self, user: str, head: int) -> None:
        stream = self._streams.get(user)
        if stream is None:
            return
        if stream.cursor is None:
            stream.cursor = head
            if stream.is_stale:
                stream.is_stale = False
                self._catch_up(user, stream)
        elif stream.cursor != head and not stream.is_catching_up:
            logger.warning("messages for a user did not arrive: the subscription is renewed")
            self._relay.renew_user(user)
            self._catch_up(user, stream)

    def lose(self, users: Sequence[str]) -> None:
        """Note that messages do not arrive until `resume`, though broadcasts of other nodes may."""
        for user in users:
            stream = self._streams.get(user)
            if stream is not None:
                stream.is_away = True
                self._listeners.hold_broadcasts(user)

    def resume(self, users: Sequence[str]) -> None:
        """Fetch what was published since `lose`."""
        for user in users:
            stream = self._streams.get(user)
            if stream is None:
                continue
            stream.is_away = False
            if stream.cursor is None or stream.is_catching_up:
                stream.is_stale = True
            else:
                self._catch_up(user, stream)

    # Catching up

    def _catch_up(self, user: str, stream: Stream) -> None:
        stream.is_catching_up = True
        self._listeners.hold_broadcasts(user)
        self._enqueue(user)

    def _enqueue(self, user: str) -> None:
        self._behind.append(user)
        if self._worker is None or self._worker.done():
            self._worker = self._tasks.start(self._ask_all(), "catching up")

    async def _ask_all(self) -> None:
        while self._behind:
            users = [self._behind.popleft() for _ in range(min(SLICE, len(self._behind)))]
            if not all(await asyncio.gather(*map(self._ask, users))):
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(PAUSE_S if self._behind else 0)

    async def _ask(self, user: str) -> bool:
        """Ask the mailbox for what was missed. Return False if it cannot be asked now."""
        stream = self._streams.get(user)
        if stream is None or stream.cursor is None:
            return True
        try:
            asking = self._mailbox.catch_up(user, stream.cursor, partial(self._answer, user, stream))
            if asking is not None:
                await asking
        except Unavailable:
            self._behind.append(user)
            return False
        return True

    def _answer(self, user: str, stream: Stream, missed: Missed) -> None:
        self._relay.in_order(partial(self._apply, user, stream, missed))

    def _apply(self, user: str, stream: Stream, missed: Missed) -> None:
        if self._streams.get(user) is not stream or stream.cursor is None:
            return
        if missed.is_lost:
            stream.cursor, stream.is_catching_up, stream.is_stale = None, False, False
            logger.warning("messages were missed that the log no longer has: sessions of their receiver reconnect")
            self._listeners.release_broadcasts(user)
            self._listeners.lose(user)
            return
        if missed.is_new:
            stream.cursor = 0
            stream.replay = self._restart(user, {missed.head, *(one.seq for one in missed.envelopes)} - {0})
        try:
            for envelope in missed.envelopes:
                if envelope.seq > stream.cursor:
                    stream.cursor = envelope.seq
                    self._listeners.apply(envelope)
        except Exception:
            self._enqueue(user)  # a message that cannot be sent must not cost those behind it
            raise
        if missed.more or stream.is_stale:
            stream.is_stale = False
            self._enqueue(user)
        else:
            self._end_catching_up(user, stream, missed.head)

    def _end_catching_up(self, user: str, stream: Stream, head: int) -> None:
        stream.cursor, stream.is_catching_up = head, False
        if stream.replay is not None:
            stream.replay()
            stream.replay = None
        if not stream.is_away:
            self._listeners.release_broadcasts(user)
