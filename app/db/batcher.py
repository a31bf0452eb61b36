"""Concurrent calls share one trip to the database: a commit or a query costs little more for hundreds than for one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.db.database import CommitUncertain
from app.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS = 500
MAX_WAITING = 20_000
RETRY_AFTER_S = 5
WAIT_S = 4.8


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    item: T
    done: "asyncio.Future[R]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[T, R]):
    """While one batch is under way, the next gathers what comes. `run` must be running.

    `perform` does it for all its items in one transaction and answers one result each. When it raises Unavailable, all
    of them do; after any other error each item is tried alone, so that a bad one fails alone.

    Callers that were told Unavailable may be wrong: `late` gets an item and its result if the batch succeeded after
    the caller gave up, `uncertain` all items of a batch that may have been committed although `perform` failed. Both
    are called from `run` and must not wait. An item whose caller gave up before its batch began is dropped.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        late: Callable[[T, R], object] = lambda item, result: None,
        uncertain: Callable[[Sequence[T]], object] = lambda items: None,
    ) -> None:
        self._perform = perform
        self._late = late
        self._uncertain = uncertain
        self._waiting: list[_Waiting[T, R]] = []
        self._wake = asyncio.Event()
        self.batches = 0

    async def submit(self, item: T, *, timeout_s: float = WAIT_S) -> R:
        """The result of the item, once it is certain. Raises Unavailable when that cannot be said in time."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many wait for the database", retry_after_s=RETRY_AFTER_S)
        waiting: _Waiting[T, R] = _Waiting(item)
        self._waiting.append(waiting)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting.done
        except TimeoutError:
            raise Unavailable("the database does not answer in time", retry_after_s=RETRY_AFTER_S) from None
        finally:
            del waiting  # it holds the error, which holds this frame

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_ITEMS], self._waiting[MAX_ITEMS:]
                await self._do(batch)

    async def _do(self, batch: Sequence[_Waiting[T, R]]) -> None:
        batch = [waiting for waiting in batch if not waiting.done.done()]
        if not batch:
            return
        self.batches += 1
        results = await self._try([waiting.item for waiting in batch])
        if not isinstance(results, Exception):
            self._settle(batch, results)
        elif len(batch) > 1 and not isinstance(results, Unavailable):
            for waiting in batch:
                await self._do([waiting])
        else:
            self._fail(batch, results)

    def _settle(self, batch: Sequence[_Waiting[T, R]], results: Sequence[R]) -> None:
        for waiting, result in zip(batch, results, strict=True):
            if waiting.done.done():
                self._late(waiting.item, result)
            else:
                waiting.done.set_result(result)

    def _fail(self, batch: Sequence[_Waiting[T, R]], error: Exception) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)
        if isinstance(error, CommitUncertain):
            self._uncertain([waiting.item for waiting in batch])

    async def _try(self, items: Sequence[T]) -> Sequence[R] | Exception:
        """An error holds this frame, but not those that wait, who will hold the error."""
        try:
            return await self._perform(items)
        except Exception as error:
            return error
