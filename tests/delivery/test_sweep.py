"""When the retry job looks: what is sent again, what is given up, what is not touched."""

import asyncio
from collections.abc import Sequence

import pytest

from app.cluster.ledger.memory import MemoryLedger
from app.delivery.ack_manager import SWEEP_SLICE
from app.delivery.log import Record
from app.delivery.observer import Expired, Resent
from app.delivery.retry import RetryPolicy
from tests.delivery.node import Device, Node


class CountingLedger(MemoryLedger):
    """Counts the records that it hands to a sweep."""

    def __init__(self) -> None:
        super().__init__()
        self.handed = 0

    def pop_due(self, now_s: float) -> Sequence[Record]:
        due = super().pop_due(now_s)
        self.handed += len(due)
        return due


async def times_of_sendings(device: Device, seconds: float, step_s: float) -> list[float]:
    """Seconds from now at which something came, looking every `step_s`."""
    node, times, start_s = device.node, [], device.node.clock.monotonic()
    for _ in range(round(seconds / step_s)):
        await node.pass_time(step_s, step_s)
        times += [round(node.clock.monotonic() - start_s, 2) for _ in device.received()]
    return times


# When


async def test_a_message_comes_again_after_the_wait_and_then_each_interval_until_it_expires() -> None:
    node = Node(policy=RetryPolicy(wait_s=7, interval_s=5))
    device = await node.listening()
    await node.push("m1")
    assert device.got() == ["m1"]
    assert await times_of_sendings(device, 70, 0.05) == pytest.approx([7 + 5 * n for n in range(11)], abs=0.06)
    assert (device.open, await node.pending(), node.acks.open_records) == ([], [], 0)
    assert (node.count(Resent), node.count(Expired)) == (11, 1)


async def test_late_looks_do_not_add_up() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.received()
    times = await times_of_sendings(device, 60, 0.7)
    assert len(times) == 11
    for n, time in enumerate(times, start=1):
        assert 5 * n <= time < 5 * n + 0.8


async def test_a_look_that_comes_much_too_late_sends_once_and_goes_on_in_the_old_rhythm() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.received()
    node.clock.advance(17)
    await node.delivery.sweep()
    assert device.attempts() == [("m1", 2)]
    assert await times_of_sendings(device, 10, 0.05) == pytest.approx([3.0, 8.0], abs=0.06)


async def test_a_resend_says_which_attempt_it_is_and_when() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    await node.pass_time(10.5)
    messages = device.received()
    assert [message.attempt for message in messages] == [1, 2, 3]
    assert [message.body["ack_retry_count"] for message in messages] == [0, 1, 2]
    assert [message.body["created"] for message in messages] == [messages[0].last_sent_ms] * 3
    waits = [later.last_sent_ms - messages[0].last_sent_ms for later in messages[1:]]
    assert waits == pytest.approx([5_000, 10_000], abs=250)
    (record,) = node.ledger.records(device.session.id)
    assert (record.retries, record.attempt, record.sent_ms) == (2, 3, messages[-1].last_sent_ms)


async def test_sessions_are_resent_to_apart_and_attempts_number_the_sendings_to_the_user() -> None:
    node = Node()
    first = await node.listening()
    await node.push("m1")
    await node.pass_time(12)
    second, third = await node.listening(), await node.listening()
    await node.pass_time(6)
    assert first.attempts() == [("m1", n) for n in (1, 2, 3, 5)]
    assert second.attempts() == [("m1", n) for n in (4, 5)]
    assert third.attempts() == [("m1", n) for n in (5, 6)]


# How often and how long


async def test_a_session_gets_no_more_than_the_greatest_number_of_retries() -> None:
    node = Node(policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=3))
    device = await node.listening()
    await node.push("m1")
    await node.pass_time(30)
    assert device.attempts() == [("m1", n) for n in (1, 2, 3, 4)]
    assert device.open == []
    assert await node.pending() == ["m1"]
    assert node.status("m1") == "sent"
    assert (await node.listening()).attempts() == [("m1", 5)]


async def test_retries_of_one_session_do_not_use_up_those_of_another() -> None:
    node = Node(policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=3))
    await node.listening()
    await node.push("m1")
    await node.pass_time(2.5)
    late = await node.listening()
    await node.pass_time(30)
    assert len(late.received()) == 4


@pytest.mark.parametrize("ttl_ms", [1, 999, 4_999, 5_001, 7_500])
async def test_a_message_is_given_up_when_its_time_is_over_wherever_that_falls(ttl_ms: int) -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", ttl_ms=ttl_ms)
    await node.pass_time(ttl_ms / 1_000 - 0.05, 0.05)
    assert await node.pending() == ["m1"]
    await node.pass_time(0.25, 0.05)
    assert (device.open, node.acks.open_records, await node.pending()) == ([], 0, [])
    assert node.status("m1") == "expired"
    assert len(device.received()) == (2 if ttl_ms == 7_500 else 1)


async def test_a_session_that_came_late_gets_retries_only_until_the_message_expires() -> None:
    node = Node()
    await node.push("m1", ttl_ms=20_000)
    await node.pass_time(12)
    device = await node.listening()
    await node.pass_time(30)
    assert device.attempts() == [("m1", 1), ("m1", 2)]
    assert node.acks.open_records == 0


async def test_a_wall_clock_that_is_set_forward_or_back_does_not_move_the_retries() -> None:
    for step_ms in (-3_600_000, 20_000):
        node = Node()
        device = await node.listening()
        await node.push("m1")
        device.received()
        node.clock._epoch_ms += step_ms
        assert await times_of_sendings(device, 12, 0.05) == pytest.approx([5, 10], abs=0.06)


async def test_a_wall_clock_that_is_set_back_does_not_keep_records_open_for_longer() -> None:
    node = Node(policy=RetryPolicy(max_retries=1_000))
    await node.listening()
    await node.push("m1")
    node.clock._epoch_ms -= 3_600_000
    await node.pass_time(61)
    assert node.acks.open_records == 0


# Sessions that are away


async def test_a_record_whose_session_is_away_is_let_go_and_the_message_stays() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    node.hub.leave(device.session)
    node.clock.advance(6)
    done = await node.acks.sweep()
    assert (done.total, done.retried, done.expired, done.not_online) == (1, 0, 0, 1)
    assert node.acks.open_records == 0
    assert await node.pending() == ["m1"]
    assert device.got() == ["m1"]


async def test_a_record_whose_session_listens_no_more_is_let_go() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    node.hub.unsubscribe(device.session, device.subscriptions[0])
    node.clock.advance(6)
    done = await node.acks.sweep()
    assert (done.retried, done.not_online, node.acks.open_records) == (0, 1, 0)


async def test_a_session_that_a_resend_ends_takes_its_other_records_along() -> None:
    node = Node()
    dying, other = await node.listening(), await node.listening()
    for n in range(3):
        await node.push(f"m{n}")
    dying.received(), other.received()
    dying.transport.on_send = dying.leave
    node.clock.advance(6)
    done = await node.acks.sweep()
    assert dying.got() == ["m0"]
    assert other.got() == ["m0", "m1", "m2"]
    assert (done.retried, node.acks.open_records) == (4, 3)


# Only what is due


async def test_a_look_touches_only_records_that_are_due() -> None:
    ledger = CountingLedger()
    node = Node(ledger=ledger)
    device = await node.listening()
    for n in range(200):
        await node.push(f"m{n}")
    node.clock.advance(3)
    for n in range(3):
        await node.push(f"late{n}")
    for _ in range(7):
        node.clock.advance(0.25)
        await node.delivery.sweep()
    assert ledger.handed == 0
    node.clock.advance(0.25)
    done = await node.acks.sweep()
    assert ledger.handed == 200
    assert (done.total, done.retried) == (203, 200)
    assert len(device.received()) == 403
    device.ack(*(f"m{n}" for n in range(200)))
    await node.pass_time(3)
    assert ledger.handed == 203
    await node.pass_time(60)
    assert node.acks.open_records == 0


async def test_looks_that_find_nothing_answer_nothing() -> None:
    node = Node()
    done = await node.acks.sweep()
    assert (done.total, done.retried, done.expired, done.not_online) == (0, 0, 0, 0)


# A sweep that gives way to the loop


async def many_due(node: Node, count: int) -> tuple[Device, list[str]]:
    device = await node.listening()
    ids = [f"m{n}" for n in range(count)]
    for id in ids:
        await node.push(id)
    device.received()
    node.clock.advance(5.1)
    return device, ids


async def test_a_long_sweep_gives_way_to_the_loop() -> None:
    node = Node()
    device, ids = await many_due(node, 200)
    for _ in range(5):
        extra = await node.listening()
        extra.received()
    node.clock.advance(5.1)
    sweep = asyncio.create_task(node.acks.sweep())
    await asyncio.sleep(0)
    assert not sweep.done()
    assert (await sweep).retried == 6 * len(ids)
    assert len(device.received()) == len(ids)


async def sweep_halfway(node: Node) -> "asyncio.Task[object]":
    sweep: asyncio.Task[object] = asyncio.create_task(node.acks.sweep())
    await asyncio.sleep(0)
    assert not sweep.done()
    return sweep


async def two_devices_due(node: Node) -> tuple[Device, Device, list[str]]:
    """The first is handled in the first slice of a sweep, most of the second in the slices behind it."""
    first, second = await node.listening(), await node.listening()
    ids = [f"m{n}" for n in range(SWEEP_SLICE // 2 + 20)]
    for id in ids:
        await node.push(id)
    first.received(), second.received()
    node.clock.advance(5.1)
    return first, second, ids


async def test_what_is_acknowledged_while_a_sweep_gives_way_is_not_sent_again() -> None:
    node = Node()
    first, second, ids = await two_devices_due(node)
    sweep = await sweep_halfway(node)
    first.ack(*ids)
    second.ack(*ids)
    await sweep
    assert first.got() == ids[: SWEEP_SLICE // 2]
    assert second.got() == ids[: SWEEP_SLICE // 2]
    assert node.acks.open_records == 0


async def test_what_is_refused_while_a_sweep_gives_way_is_put_off() -> None:
    node = Node()
    _, second, ids = await two_devices_due(node)
    sweep = await sweep_halfway(node)
    second.nack(ids[-1])
    await sweep
    assert second.got() == ids[:-1]
    await node.pass_time(4.75)
    assert second.got() == []
    await node.pass_time(0.25)
    assert ids[-1] in second.got()


async def test_sessions_may_leave_and_come_while_a_sweep_gives_way() -> None:
    node = Node()
    first, second, ids = await two_devices_due(node)
    sweep = await sweep_halfway(node)
    second.leave()
    first.unsubscribe()
    await first.subscribe()
    third = await node.listening()
    await sweep
    assert first.got() == ids[: SWEEP_SLICE // 2] + ids
    assert second.got() == ids[: SWEEP_SLICE // 2]
    assert third.got() == ids
    assert node.acks.open_records == 2 * len(ids)
    await node.pass_time(4.5)
    assert (first.got(), third.got()) == ([], [])
    await node.pass_time(1)
    assert (first.got(), third.got()) == (ids, ids)


async def test_pushes_while_a_sweep_gives_way_are_handled_by_a_later_one() -> None:
    node = Node()
    first, second, _ = await two_devices_due(node)
    sweep = await sweep_halfway(node)
    await node.push("new")
    await sweep
    assert first.received()[-20 - 1].id == "new"
    assert [message.attempt for message in second.received() if message.id == "new"] == [1]
