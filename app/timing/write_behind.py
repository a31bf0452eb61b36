"""Writes items to a server later, in batches, and retries until it succeeds."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from app.errors import Unavailable

T = TypeVar("T", bound=Hashable)

GATHER_S = 0.05
RETRY_S = 1.0
MAX_ITEMS = 500
MAX_WAITING = 100_000

logger = logging.getLogger(__name__)


class PartlyWritten(Unavailable):
    """All but `items` is written."""

    def __init__(self, detail: str, items: Sequence[Any]) -> None:
        super().__init__(detail)
        self.items = items


class WriteBehind(Generic[T]):
    """`run` must be running. What is over `max_waiting` pushes out the oldest.

    `gather_s` passes from the first note to its writing, at least `pause_s` from one writing to the next; what was
    written is remembered for `remember_s`. A note that comes while the same one is being written is written again: it
    may stand for something newer. Where `write` raises PartlyWritten the others go on, so that one server of many that
    is away does not keep them.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[None]],
        *,
        gather_s: float = GATHER_S,
        pause_s: float = 0.0,
        max_waiting: int | None = None,
        remember_s: float = 0.0,
    ) -> None:
        self._write = write
        self._gather_s = gather_s
        self._pause_s = pause_s
        self._max_waiting = MAX_WAITING if max_waiting is None else max_waiting
        self._remember_s = remember_s
        self._written: deque[tuple[float, Sequence[T]]] = deque()  # batches and when they were written, oldest first
        self._remembered = 0  # items in them
        self._forgetting: asyncio.TimerHandle | None = None
        self._waiting: dict[T, None] = {}
        self._writing: dict[T, None] = {}
        self._left_over: dict[T, None] = {}  # what was tried in vain, until all others have been tried
        self._tried: asyncio.Future[None] | None = None  # done at the end of the next try to write
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._writing) + len(self._left_over)

    def __contains__(self, item: T) -> bool:
        return item in self._waiting or item in self._writing or item in self._left_over

    def __iter__(self) -> Iterator[T]:
        """Return the items that are not written yet."""
        yield from self._left_over
        yield from self._writing
        yield from self._waiting

    async def written(self, item: T) -> None:
        """Return once the note is written, however long that takes."""
        while item in self:
            if self._tried is None:
                self._tried = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._tried)

    def note(self, item: T) -> None:
        if len(self._waiting) >= self._max_waiting and item not in self._waiting:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[item] = None
        self._wake.set()

    def recent(self) -> Sequence[T]:
        """Return what was written in the last `remember_s`, oldest first; MAX_WAITING items of it at most."""
        self._forget_old()
        return list(dict.fromkeys(item for _, batch in self._written for item in batch))

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._gather_s)
            try:
                await self.flush()
            except Unavailable as error:
                logger.warning("%d notes wait: %s", len(self), error.detail)
                await asyncio.sleep(RETRY_S)
            except Exception:  # the outer edge of the task: notes are worth another try, whatever it was
                logger.exception("%d notes could not be written", len(self))
                await asyncio.sleep(RETRY_S)
            if self._pause_s:
                await asyncio.sleep(self._pause_s)

    async def flush(self) -> None:
        """Write all waiting items. Raises Unavailable, and keeps those that were not written."""
        async with self._turn:
            self._wake.clear()
            try:
                failed = await self._write_all()
            finally:
                self._waiting = self._left_over | self._waiting
                self._left_over = {}
            if failed is not None:
                self._wake.set()
                raise failed

    async def _write_all(self) -> PartlyWritten | None:
        failed = None
        while self._waiting:
            try:
                await self._write_some()
            except PartlyWritten as error:
                failed = error
        return failed

    async def _write_some(self) -> None:
        batch = list(self._waiting)[:MAX_ITEMS]
        for item in batch:
            del self._waiting[item]
        self._writing = dict.fromkeys(batch)
        try:
            await self._write(batch)
        except PartlyWritten as error:
            self._left_over.update(dict.fromkeys(error.items))
            raise
        except BaseException:
            self._waiting = self._writing | self._waiting
            self._wake.set()
            raise
        else:
            if self._remember_s:
                self._remember(batch)
        finally:
            self._writing = {}
            if self._tried is not None:
                self._tried.set_result(None)
                self._tried = None

    # What was written

    def _remember(self, batch: Sequence[T]) -> None:
        loop = asyncio.get_running_loop()
        self._written.append((loop.time(), batch))
        self._remembered += len(batch)
        self._forget_old()
        if self._forgetting is None:
            self._forgetting = loop.call_later(self._remember_s, self._forget_idle)

    def _forget_old(self) -> None:
        since_s = asyncio.get_running_loop().time() - self._remember_s
        while self._written and (self._remembered > MAX_WAITING or self._written[0][0] < since_s):
            _, batch = self._written.popleft()
            self._remembered -= len(batch)

    def _forget_idle(self) -> None:
        """Give the memory back where nothing more is written."""
        self._forget_old()
        self._forgetting = None
        if self._written:
            self._forgetting = asyncio.get_running_loop().call_later(self._remember_s, self._forget_idle)
