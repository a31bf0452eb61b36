import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.errors import Unavailable
from app.timing import write_behind
from app.timing.write_behind import MAX_ITEMS, PartlyWritten, WriteBehind
from tests.eventually import eventually


class Table:
    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.failures: list[Exception] = []

    async def write(self, items: Sequence[int]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        self.batches.append(items)


@asynccontextmanager
async def running(table: Table) -> AsyncIterator[WriteBehind[int]]:
    notes = WriteBehind(table.write)
    task = asyncio.create_task(notes.run())
    try:
        yield notes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_written(notes: WriteBehind[int]) -> None:
    async with asyncio.timeout(30):
        while notes:  # noqa: ASYNC110 — it says nothing when it is done
            await asyncio.sleep(0.005)


async def test_notes_are_gathered_into_few_transactions() -> None:
    table = Table()
    async with running(table) as notes:
        for number in range(1_200):
            notes.note(number)
        assert table.batches == []
        await until_written(notes)
    assert [len(batch) for batch in table.batches] == [MAX_ITEMS, MAX_ITEMS, 200]
    assert [item for batch in table.batches for item in batch] == list(range(1_200))


async def test_the_same_note_twice_is_one_and_a_waiting_note_can_be_seen() -> None:
    table = Table()
    async with running(table) as notes:
        notes.note(1)
        notes.note(1)
        assert 1 in notes
        assert 2 not in notes
        await until_written(notes)
        assert 1 not in notes
    assert table.batches == [[1]]


async def test_what_comes_while_a_batch_is_written_is_written_too() -> None:
    table = Table()
    async with running(table) as notes:
        notes.note(1)
        flushing = asyncio.create_task(notes.flush())
        await asyncio.sleep(0)
        notes.note(2)
        await flushing
        await until_written(notes)
    assert table.batches == [[1], [2]]


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("a defect")])
async def test_what_could_not_be_written_is_tried_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.01)
    table = Table()
    table.failures = [failure, failure]
    async with running(table) as notes:
        notes.note(1)
        await until_written(notes)
    assert table.batches == [[1]]
    assert "1 notes" in caplog.text


async def test_flush_says_that_it_could_not_and_keeps_the_notes() -> None:
    table = Table()
    table.failures = [Unavailable("away")]
    notes = WriteBehind(table.write)
    notes.note(1)
    with pytest.raises(Unavailable):
        await notes.flush()
    assert 1 in notes
    await notes.flush()
    assert table.batches == [[1]]


async def test_too_many_notes_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "MAX_WAITING", 3)
    table = Table()
    notes = WriteBehind(table.write)
    for number in range(5):
        notes.note(number)
    await notes.flush()
    assert table.batches == [[2, 3, 4]]


async def test_a_note_that_waits_already_pushes_out_nothing() -> None:
    table = Table()
    notes = WriteBehind(table.write, max_waiting=2)
    for number in (1, 2, 2, 1):
        notes.note(number)
    await notes.flush()
    assert table.batches == [[1, 2]]


class Shards:
    """Odd numbers cannot be written while `away`."""

    def __init__(self) -> None:
        self.away = True
        self.written: list[int] = []

    async def write(self, items: Sequence[int]) -> None:
        await asyncio.sleep(0)
        left = [item for item in items if item % 2 and self.away]
        self.written += [item for item in items if item not in left]
        if left:
            raise PartlyWritten("a shard is away", left)


async def test_what_can_be_written_does_not_wait_for_what_cannot() -> None:
    shards = Shards()
    notes = WriteBehind(shards.write)
    for number in range(1, 4 * MAX_ITEMS, 2):
        notes.note(number)
    notes.note(2)
    with pytest.raises(Unavailable, match="a shard is away"):
        await notes.flush()
    assert shards.written == [2]
    assert (len(notes), 1 in notes, 2 in notes) == (2 * MAX_ITEMS, True, False)
    assert list(notes) == list(range(1, 4 * MAX_ITEMS, 2))


async def test_what_could_not_be_written_can_be_seen_while_others_are_and_is_tried_again() -> None:
    shards = Shards()
    notes = WriteBehind(shards.write)
    for number in (*range(1, 2 * MAX_ITEMS, 2), 2):
        notes.note(number)
    flushing = asyncio.create_task(notes.flush())
    for _ in range(4):
        await asyncio.sleep(0)
        assert 1 in notes
    with pytest.raises(Unavailable):
        await flushing
    shards.away = False
    await notes.flush()
    assert sorted(shards.written) == [1, 2, *range(3, 2 * MAX_ITEMS, 2)]
    assert len(notes) == 0


async def test_what_could_not_be_written_is_tried_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.01)
    shards = Shards()
    notes = WriteBehind(shards.write, gather_s=0)
    task = asyncio.create_task(notes.run())
    notes.note(1)
    await asyncio.sleep(0.005)
    shards.away = False
    await until_written(notes)
    assert shards.written == [1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_was_written_is_remembered_for_a_while_and_each_note_once() -> None:
    table = Table()
    notes: WriteBehind[int] = WriteBehind(table.write, remember_s=0.1)
    for item in (1, 2, 1):
        notes.note(item)
        await notes.flush()
    assert notes.recent() == [1, 2]
    notes.note(3)
    assert notes.recent() == [1, 2]
    await asyncio.sleep(0.15)
    assert notes.recent() == []


async def test_nothing_is_remembered_unless_it_is_asked_for() -> None:
    table = Table()
    notes: WriteBehind[int] = WriteBehind(table.write)
    notes.note(1)
    await notes.flush()
    assert notes.recent() == []


class Note:
    pass


async def write_nowhere(items: Sequence[Note]) -> None:
    await asyncio.sleep(0)


async def write_new(notes: WriteBehind[Note]) -> "weakref.ref[Note]":
    note = Note()
    notes.note(note)
    await notes.flush()
    return weakref.ref(note)


async def test_what_was_written_is_let_go_of_when_its_time_is_over_though_nothing_more_is_written() -> None:
    notes: WriteBehind[Note] = WriteBehind(write_nowhere, remember_s=0.1)
    first = await write_new(notes)
    await asyncio.sleep(0.06)
    second = await write_new(notes)
    assert (first(), second()) == tuple(notes.recent())
    await eventually(lambda: first() is None and second() is None)
    third = await write_new(notes)
    assert third() is not None
    await eventually(lambda: third() is None)


async def test_what_was_written_is_let_go_of_while_more_is_written() -> None:
    notes: WriteBehind[Note] = WriteBehind(write_nowhere, remember_s=0.2)
    first = await write_new(notes)

    async def write_all() -> None:
        while first() is not None:
            await write_new(notes)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(write_all(), 30)


async def test_no_more_is_remembered_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "MAX_WAITING", 3)
    table = Table()
    notes: WriteBehind[int] = WriteBehind(table.write, remember_s=60, max_waiting=10)
    for item in range(5):
        notes.note(item)
        await notes.flush()
    assert notes.recent() == [2, 3, 4]


# Waiting for one note


async def test_what_is_written_already_is_waited_for_no_more() -> None:
    async with running(Table()) as notes:
        await asyncio.wait_for(notes.written(1), 30)
        notes.note(1)
        await until_written(notes)
        await asyncio.wait_for(notes.written(1), 30)


async def test_each_note_is_waited_for_until_its_own_batch_is_written() -> None:
    table = Table()
    notes = WriteBehind(table.write)
    for number in range(MAX_ITEMS + 1):
        notes.note(number)
    first, last = (asyncio.create_task(notes.written(number)) for number in (0, MAX_ITEMS))
    done: list[int] = []
    first.add_done_callback(lambda _: done.append(len(table.batches)))
    last.add_done_callback(lambda _: done.append(len(table.batches)))
    await asyncio.sleep(0)
    assert done == []
    await notes.flush()
    await asyncio.gather(first, last)
    assert len(table.batches) == 2
    assert done[0] <= done[1] == 2


async def test_a_note_that_cannot_be_written_is_waited_for_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.001)
    shards = Shards()
    notes = WriteBehind(shards.write, gather_s=0.0)
    task = asyncio.create_task(notes.run())
    notes.note(1)
    notes.note(2)
    odd, even = (asyncio.create_task(notes.written(number)) for number in (1, 2))
    await asyncio.wait_for(even, 30)
    await asyncio.sleep(0.02)
    assert not odd.done()
    shards.away = False
    await asyncio.wait_for(odd, 30)
    assert sorted(shards.written) == [1, 2]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_waits_no_more_keeps_nobody_else_from_being_told() -> None:
    notes = WriteBehind(Table().write)
    notes.note(1)
    gone, waiting = asyncio.create_task(notes.written(1)), asyncio.create_task(notes.written(1))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    await notes.flush()
    await asyncio.wait_for(waiting, 30)


async def test_a_note_that_comes_again_while_it_is_written_is_waited_for_until_it_is_written_again() -> None:
    """It may stand for something newer."""
    writing, free = asyncio.Event(), asyncio.Event()

    async def write(items: Sequence[int]) -> None:
        writing.set()
        await free.wait()
        free.clear()

    notes = WriteBehind(write)
    notes.note(1)
    flushing = asyncio.create_task(notes.flush())
    await writing.wait()
    notes.note(1)
    waiting = asyncio.create_task(notes.written(1))
    writing.clear()
    free.set()
    await writing.wait()
    await asyncio.sleep(0)
    assert not waiting.done()
    free.set()
    await asyncio.wait_for(waiting, 30)
    await flushing
