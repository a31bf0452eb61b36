"""Notes that may come late: many in one transaction, again and again until it works."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from app.errors import Unavailable

T = TypeVar("T", bound=Hashable)

GATHER_S = 0.05
RETRY_S = 1.0
MAX_ITEMS = 500
MAX_WAITING = 100_000

logger = logging.getLogger(__name__)


class WriteBehind(Generic[T]):
    """`run` must be running. What is over MAX_WAITING pushes out the oldest."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: dict[T, None] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, item: T) -> bool:
        return item in self._waiting

    def note(self, item: T) -> None:
        if len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[item] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
            except Unavailable as error:
                logger.warning("%d notes wait: %s", len(self), error.detail)
                await asyncio.sleep(RETRY_S)
            except Exception:  # the outer edge of the task: notes are worth another try, whatever it was
                logger.exception("%d notes could not be written", len(self))
                await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Raises Unavailable; what was not written stays."""
        while self._waiting:
            batch = list(self._waiting)[:MAX_ITEMS]
            await self._write(batch)
            for item in batch:
                self._waiting.pop(item, None)
        self._wake.clear()
