import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from app.db.batcher import MAX_ITEMS, MAX_WAITING, WAIT_S, Batcher, _Waiting
from app.db.database import CommitUncertain
from app.errors import Unavailable


class Table:
    """Where items are written; it commits when it is `open`."""

    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.check: Callable[[Sequence[int]], None] = lambda items: None

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        await self.open.wait()
        await asyncio.sleep(0)
        self.check(items)
        self.batches.append(items)
        return [item * 10 for item in items]


class Owner:
    """Whoever must know what became of items whose callers were told that it failed."""

    def __init__(self) -> None:
        self.late: list[tuple[int, int]] = []
        self.uncertain: list[Sequence[int]] = []

    def note_late(self, item: int, result: int) -> None:
        self.late.append((item, result))


@asynccontextmanager
async def running(table: Table, owner: Owner | None = None) -> AsyncIterator[Batcher[int, int]]:
    owner = owner or Owner()
    group = Batcher(table.write, late=owner.note_late, uncertain=owner.uncertain.append)
    task = asyncio.create_task(group.run())
    try:
        yield group
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_gets_the_result_of_its_own_item_and_many_share_a_transaction() -> None:
    table = Table()
    async with running(table) as group:
        results = await asyncio.gather(*(group.submit(number) for number in range(1_200)))
    assert results == [number * 10 for number in range(1_200)]
    assert group.batches == len(table.batches) == 3
    assert max(map(len, table.batches)) == MAX_ITEMS
    assert [item for batch in table.batches for item in batch] == list(range(1_200))


async def test_nobody_is_answered_before_the_commit() -> None:
    table = Table()
    table.open.clear()
    async with running(table) as group:
        first = asyncio.create_task(group.submit(1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(group.submit(2))
        await asyncio.sleep(0.01)
        assert not first.done()
        assert not second.done()
        table.open.set()
        assert (await first, await second) == (10, 20)
    assert table.batches == [[1], [2]]


async def test_what_comes_while_one_transaction_commits_goes_into_the_next_together() -> None:
    table = Table()
    table.open.clear()
    async with running(table) as group:
        tasks = [asyncio.create_task(group.submit(0))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(group.submit(number)) for number in range(1, 50)]
        await asyncio.sleep(0.01)
        table.open.set()
        await asyncio.gather(*tasks)
    assert table.batches == [[0], list(range(1, 50))]


async def test_a_bad_item_fails_alone() -> None:
    table = Table()

    def check(items: Sequence[int]) -> None:
        if 13 in items:
            raise ValueError("13")

    table.check = check
    async with running(table) as group:
        results = await asyncio.gather(*(group.submit(number) for number in range(20)), return_exceptions=True)
        assert await group.submit(20) == 200
    assert [isinstance(result, ValueError) for result in results] == [number == 13 for number in range(20)]


async def test_a_database_that_is_away_is_not_asked_once_for_every_item() -> None:
    table = Table()

    def check(items: Sequence[int]) -> None:
        raise Unavailable("away")

    table.check = check
    async with running(table) as group:
        results = await asyncio.gather(*(group.submit(number) for number in range(100)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert group.batches == 1
        table.check = lambda items: None
        assert await group.submit(7) == 70


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a defect")])
async def test_a_failure_leaves_nothing_to_the_collector(error: Exception) -> None:
    table = Table()

    def check(items: Sequence[int]) -> None:
        raise type(error)(*error.args)

    table.check = check
    gc.collect()
    gc.disable()
    try:
        async with running(table) as group:
            await asyncio.gather(group.submit(1), group.submit(2), return_exceptions=True)
            table.check = lambda items: None
            await group.submit(3)
            assert {one.item for one in gc.get_objects() if isinstance(one, _Waiting)} <= {3}
    finally:
        gc.enable()


async def test_who_gave_up_waiting_is_not_written() -> None:
    table = Table()
    table.open.clear()
    async with running(table) as group:
        first = asyncio.create_task(group.submit(1))
        await asyncio.sleep(0.01)
        second, third = asyncio.create_task(group.submit(2)), asyncio.create_task(group.submit(3))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0.01)
        table.open.set()
        assert await first == 10
        assert await third == 30
    assert table.batches == [[1], [3]]


async def test_a_write_that_hangs_is_answered_in_time() -> None:
    assert WAIT_S < 5, "what a caller waits at most"
    table = Table()
    table.open.clear()
    async with running(table) as group:
        with pytest.raises(Unavailable) as refused:
            await group.submit(1, timeout_s=0.05)
        assert refused.value.retry_after_s
        table.open.set()
        assert await group.submit(2) == 20


async def test_more_than_can_wait_is_refused_at_once() -> None:
    table = Table()
    table.open.clear()
    async with running(table) as group:
        tasks = [asyncio.create_task(group.submit(number)) for number in range(MAX_WAITING)]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(group.submit(number)) for number in range(MAX_ITEMS)]
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="too many"):
            await group.submit(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Callers that gave up


async def test_a_result_that_comes_after_its_caller_gave_up_goes_to_the_owner() -> None:
    table, owner = Table(), Owner()
    table.open.clear()
    async with running(table, owner) as group:
        impatient = asyncio.create_task(group.submit(1, timeout_s=0.05))
        patient = asyncio.create_task(group.submit(2))
        disconnected = asyncio.create_task(group.submit(3))
        await asyncio.sleep(0.01)
        disconnected.cancel()
        with pytest.raises(Unavailable):
            await impatient
        table.open.set()
        assert await patient == 20
    assert owner.late == [(1, 10), (3, 30)]
    assert owner.uncertain == []


async def test_an_item_whose_caller_gave_up_before_its_batch_began_is_dropped_without_a_word() -> None:
    table, owner = Table(), Owner()
    table.open.clear()
    async with running(table, owner) as group:
        first = asyncio.create_task(group.submit(1))
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await group.submit(2, timeout_s=0.01)
        table.open.set()
        assert (await first, await group.submit(3)) == (10, 30)
    assert table.batches == [[1], [3]]
    assert owner.late == []


async def test_an_item_whose_caller_gave_up_is_not_tried_alone_after_its_batch_failed() -> None:
    table, owner = Table(), Owner()
    table.open.clear()

    def check(items: Sequence[int]) -> None:
        if 13 in items:
            raise ValueError("13")

    table.check = check
    async with running(table, owner) as group:
        tasks = [asyncio.create_task(group.submit(number)) for number in (13, 1, 2)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        await asyncio.sleep(0)
        table.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, asyncio.CancelledError, int]
    assert table.batches == [[2]]
    assert owner.late == []


async def test_items_that_may_have_been_committed_are_told_to_the_owner_and_refused_to_all_callers() -> None:
    table, owner = Table(), Owner()
    table.open.clear()

    def check(items: Sequence[int]) -> None:
        raise CommitUncertain("the connection was lost")

    table.check = check
    async with running(table, owner) as group:
        gave_up = asyncio.create_task(group.submit(1))
        waiting = asyncio.create_task(group.submit(2))
        await asyncio.sleep(0.01)
        gave_up.cancel()
        table.open.set()
        with pytest.raises(Unavailable):
            await waiting
        assert owner.uncertain == [[1, 2]]
        assert group.batches == 1
        table.check = lambda items: None
        assert await group.submit(3) == 30
    assert owner.late == []


async def test_items_that_were_certainly_not_committed_are_not_told_to_the_owner() -> None:
    table, owner = Table(), Owner()

    def check(items: Sequence[int]) -> None:
        raise Unavailable("away")

    table.check = check
    async with running(table, owner) as group:
        with pytest.raises(Unavailable):
            await group.submit(1)
    assert owner.uncertain == []
    assert owner.late == []
