import random
import re
from hashlib import sha256

import pytest

from app.messages.ids import (
    DERIVED_ID_PREFIX,
    MESSAGE_ID_PATTERN,
    MESSAGE_ID_PREFIX,
    derived_id,
    given_id_problem,
    id_factory,
    message_id_problem,
)
from tests.clock import FakeClock


@pytest.mark.parametrize("value", ["a", "7", "ntf_1", "A.b:c-d_e", "x" * 64, "0" + "-" * 63])
def test_an_id_of_the_alphabet_is_accepted(value: str) -> None:
    assert message_id_problem(value) is None
    assert re.match(MESSAGE_ID_PATTERN, value)


@pytest.mark.parametrize(
    "value",
    ["", "x" * 65, "_a", ".a", ":a", "-a", "a/b", "a b", "a\n", "\na", "a\\c", "é", "٣", "a\x00", "a\ud800", "a,b"],
)
def test_an_id_that_would_need_escaping_somewhere_is_refused_with_a_sentence(value: str) -> None:
    assert message_id_problem(value) == (
        "an id has 1 to 64 characters: letters, digits and _ . : - with a letter or digit first"
    )


def test_an_id_that_is_derived_from_a_key_is_the_same_everywhere() -> None:
    assert derived_id("jwt:https%3A//idp.test:back-end", "order-4711", 2) == (
        "ntk_" + sha256(b"stomp-notify/id/131:jwt:https%3A//idp.test:back-end10:order-47112").hexdigest()[:40]
    )


def test_callers_keys_and_items_that_differ_have_different_ids() -> None:
    parts = [("a", "bc", 0), ("ab", "c", 0), ("a", "bc", 1), ("a", "b", 0), ("a", "bc0", 0), ("", "", 10), ("", "", 1)]
    assert len({derived_id(*part) for part in parts}) == len(parts)


def test_no_caller_can_give_an_id_that_looks_derived() -> None:
    made = derived_id("a", "ü\ud800", 999)
    assert message_id_problem(made) is None
    assert (given_id_problem(made) or "").startswith("an id must not start with ntk_")
    assert given_id_problem(DERIVED_ID_PREFIX) is not None
    assert given_id_problem("ntk") is None
    assert given_id_problem("a/b") == message_id_problem("a/b")


def test_made_ids_pass_the_check_for_given_ones_and_have_one_length() -> None:
    new_id = id_factory(FakeClock())
    ids = [new_id() for _ in range(100)]
    assert all(message_id_problem(made) is None for made in ids)
    assert {len(made) for made in ids} == {36}
    assert all(made.startswith(MESSAGE_ID_PREFIX) for made in ids)


def test_ids_of_one_millisecond_sort_by_the_order_of_making() -> None:
    new_id = id_factory(FakeClock())
    ids = [new_id() for _ in range(5_000)]
    assert ids == sorted(set(ids))


def test_ids_sort_by_time() -> None:
    clock = FakeClock()
    new_id = id_factory(clock)
    ids = []
    for _ in range(50):
        ids += [new_id(), new_id()]
        clock.advance(0.001)
    assert ids == sorted(set(ids))


def test_a_clock_that_is_set_back_does_not_set_ids_back() -> None:
    clock = FakeClock()
    new_id = id_factory(clock)
    clock.advance(10)
    before = new_id()
    clock.advance(-3_600)
    during = new_id()
    clock.advance(3_601)
    assert before < during < new_id()


def test_a_million_ids_while_the_clock_stands_still_keep_their_length_and_order() -> None:
    new_id = id_factory(FakeClock(), random.Random(1))
    last = new_id()
    for _ in range(0x100000 - 2):
        last = new_id()
    for _ in range(3):  # the five digits of the count are used up here
        following = new_id()
        assert following > last
        assert len(following) == 36
        last = following


def test_two_processes_make_different_ids_at_the_same_moment() -> None:
    clock = FakeClock()
    assert id_factory(clock)() != id_factory(clock)()


def test_a_given_source_makes_ids_repeatable() -> None:
    assert id_factory(FakeClock(), random.Random(7))() == id_factory(FakeClock(), random.Random(7))()


def test_the_time_can_be_read_from_an_id() -> None:
    clock = FakeClock()
    made = id_factory(clock)()
    assert int(made.removeprefix(MESSAGE_ID_PREFIX)[:11], 16) == clock.epoch_ms()
