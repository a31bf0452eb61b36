"""The order in which connections are displaced."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.connections.queue import FairQueue


def test_oldest_of_the_address_with_the_most_goes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for member, key in [("user", "home"), ("x1", "flood"), ("x2", "flood"), ("x3", "flood"), ("other", "work")]:
        queue.add(member, key)

    assert [queue.pop() for _ in range(3)] == [("x1", "flood"), ("x2", "flood"), ("user", "home")]
    assert "x3" in queue
    assert "x2" not in queue
    assert len(queue) == 2


def test_discard_of_an_unknown_member_returns_false() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("a", "k")

    assert queue.discard("a")
    assert not queue.discard("a")
    assert queue.pop() is None


def test_flood_displaces_only_itself_although_others_are_older() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(500):
        queue.add(f"user-{number}", f"home-{number}")
    for number in range(1000):
        queue.add(f"x{number}", "flood")

    popped = [queue.pop() for _ in range(900)]
    assert Counter(one[1] for one in popped if one is not None)["flood"] == 900


STEPS = st.lists(st.tuples(st.sampled_from("aadp"), st.integers(0, 12), st.sampled_from("kln")), max_size=60)


@given(STEPS)
def test_queue_behaves_like_a_search_through_all_members(
    steps: list[tuple[str, int, str]],
) -> None:
    queue: FairQueue[int] = FairQueue()
    model: dict[int, str] = {}
    for step, member, key in steps:
        if step == "a" and member not in model:
            queue.add(member, key)
            model[member] = key
        elif step == "d":
            assert queue.discard(member) == (model.pop(member, None) is not None)
        elif step == "p":
            popped = queue.pop()
            assert (popped is None) == (not model)
            if popped is not None:
                assert model[popped[0]] == popped[1]
                sizes = Counter(model.values())
                assert sizes[popped[1]] == max(sizes.values())
                assert popped[0] == next(one for one, of in model.items() if of == popped[1])
                del model[popped[0]]
        assert len(queue) == len(model)
