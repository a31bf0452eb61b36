import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.timing.schedule import SPARE, Schedule


class Key:
    """Counts how often it was looked at."""

    looks = 0

    def __hash__(self) -> int:
        Key.looks += 1
        return id(self)


@pytest.fixture(autouse=True)
def _no_looks_yet() -> None:
    Key.looks = 0


def test_a_key_is_due_never_early_and_at_most_one_resolution_late() -> None:
    schedule: Schedule[str] = Schedule(0.5)
    schedule.add("a", 1.1)
    assert schedule.pop_due(1.4) == []
    assert schedule.pop_due(1.5) == ["a"]
    assert schedule.pop_due(9.0) == []


def test_a_key_on_the_edge_of_a_slot_is_due_at_once() -> None:
    schedule: Schedule[str] = Schedule(0.5)
    schedule.add("a", 1.5)
    assert schedule.pop_due(1.49) == []
    assert schedule.pop_due(1.5) == ["a"]


def test_a_discarded_key_is_never_due() -> None:
    schedule: Schedule[str] = Schedule(1)
    slot = schedule.add("a", 1)
    schedule.add("b", 1)
    schedule.discard("a", slot)
    schedule.discard("a", slot)
    schedule.discard("c", slot)
    schedule.discard("a", 999)
    assert schedule.pop_due(1) == ["b"]


def test_a_slot_that_was_emptied_can_be_used_again() -> None:
    schedule: Schedule[str] = Schedule(1)
    for _ in range(3):
        schedule.discard("a", schedule.add("a", 1))
    schedule.add("b", 1)
    assert schedule.pop_due(1) == ["b"]
    assert schedule.pop_due(1) == []


def test_keys_of_one_slot_come_in_the_order_of_adding() -> None:
    schedule: Schedule[int] = Schedule(1)
    for key in (3, 1, 2):
        schedule.add(key, 1)
    assert schedule.pop_due(1) == [3, 1, 2]


def test_a_key_may_be_added_in_the_past() -> None:
    schedule: Schedule[str] = Schedule(1)
    schedule.add("a", 10)
    assert schedule.pop_due(20) == ["a"]
    schedule.add("b", 10)
    assert schedule.pop_due(20) == ["b"]


def test_a_look_does_not_touch_what_is_not_due() -> None:
    schedule: Schedule[Key] = Schedule(1)
    due = Key()
    schedule.add(due, 1)
    for n in range(10_000):
        schedule.add(Key(), 2 + n % 50)
    Key.looks = 0
    assert schedule.pop_due(1) == [due]
    assert Key.looks == 0


def test_discarding_does_not_touch_the_others() -> None:
    schedule: Schedule[Key] = Schedule(1)
    keys = [Key() for _ in range(1_000)]
    slots = {schedule.add(key, 1) for key in keys}
    Key.looks = 0
    schedule.discard(keys[500], *slots)
    assert Key.looks == 1


def test_slots_of_discarded_keys_do_not_pile_up() -> None:
    schedule: Schedule[int] = Schedule(1)
    kept = [schedule.add(key, 1_000_000 + key) for key in range(10)]
    for at in range(10_000):
        schedule.discard(-1, schedule.add(-1, at))
        assert len(schedule) <= 2 * len(kept) + SPARE + 1
    for _ in range(10_000):
        schedule.discard(-1, schedule.add(-1, 7))
        assert len(schedule) <= 2 * len(kept) + SPARE + 1
    assert schedule.pop_due(2_000_000) == list(range(10))
    assert len(schedule) == 0


def test_clearing_slots_away_keeps_the_order_of_time() -> None:
    schedule: Schedule[int] = Schedule(1)
    kept = [7, 19, 3, 12, 1, 16]
    for at in kept:
        schedule.add(at, at)
    for at in range(100, 100 + 2 * SPARE):
        schedule.discard(at, schedule.add(at, at))
    assert len(schedule) < SPARE + len(kept)
    assert [schedule.pop_due(now) for now in (2, 10, 15)] == [[1], [3, 7], [12]]


def test_clearing_slots_away_costs_little_beside_filling_them() -> None:
    schedule: Schedule[int] = Schedule(1)
    slots = [schedule.add(key, key) for key in range(10_000)]
    sizes = set()
    for key, slot in enumerate(slots):
        schedule.discard(key, slot)
        sizes.add(len(schedule))
    assert len(sizes) <= 12, "it is rebuilt at half its size, not each time"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 20), st.floats(0, 50)),
            st.tuples(st.just("discard"), st.integers(0, 20), st.just(0.0)),
            st.tuples(st.just("pop"), st.just(0), st.floats(0, 60)),
        ),
        max_size=200,
    )
)
def test_a_schedule_is_a_sorted_list_of_keys_and_times(steps: list[tuple[str, int, float]]) -> None:
    schedule: Schedule[int] = Schedule(0.05)
    times: dict[int, float] = {}
    slots: dict[int, int] = {}
    for step, key, time in steps:
        if step == "pop":
            due = schedule.pop_due(time)
            assert len(due) == len(set(due))
            assert set(due) >= {key for key, at in times.items() if at <= time - 0.05}
            assert set(due) <= {key for key, at in times.items() if at <= time + 1e-9}
            for key in due:
                del times[key], slots[key]
            continue
        if key in slots:
            schedule.discard(key, slots.pop(key))
            del times[key]
        if step == "add":
            slots[key], times[key] = schedule.add(key, time), time
    assert set(schedule.pop_due(1_000)) == set(times)
    assert len(schedule) == 0
