"""What an acknowledgement ends, and what it does not."""

import asyncio

import pytest

from app.cluster.wire import UNORDERED
from app.delivery.observer import Acknowledged
from app.delivery.retry import RetryPolicy
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.stomp.frames import AckMode
from tests.delivery.node import TTL_MS, Node


async def test_an_acknowledgement_ends_the_retries_to_its_session_and_no_other() -> None:
    node = Node()
    first, second = await node.listening(), await node.listening()
    await node.push("m1")
    first.ack("m1")
    assert (first.open, list(second.open)) == ([], ["m1"])
    await node.pass_time(6)
    assert first.attempts() == [("m1", 1)]
    assert second.attempts() == [("m1", 1), ("m1", 2)]
    second.ack("m1")
    await node.pass_time(30)
    assert second.got() == []


async def test_the_first_acknowledgement_empties_the_inbox() -> None:
    node = Node()
    first, _ = await node.listening(), await node.listening()
    await node.push("m1")
    first.ack("m1")
    assert await node.pending() == []
    third = await node.listening()
    assert third.got() == []


async def test_the_trace_tells_when_each_session_and_the_first_of_them_acknowledged() -> None:
    node = Node()
    first, second = await node.listening(), await node.listening()
    await node.push("m1")
    node.clock.advance(1)
    first.ack("m1")
    at_ms = node.clock.epoch_ms()
    node.clock.advance(1)
    second.ack("m1")
    trace = node.trace("m1")
    assert trace.acked_ms == at_ms
    assert [record.acked_ms for record in trace.records.values()] == [at_ms, at_ms + 1_000]
    assert node.status("m1") == "delivered"
    assert node.count(Acknowledged) == 2


async def test_acknowledging_twice_or_something_unknown_changes_nothing() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.ack("m1")
    at_ms = node.trace("m1").acked_ms
    node.clock.advance(1)
    device.ack("m1", "unknown")
    assert node.trace("m1").acked_ms == at_ms
    assert node.count(Acknowledged) == 1
    assert node.delivery.trace("unknown") is None


async def test_a_device_acknowledges_on_a_new_session_what_an_older_one_received() -> None:
    node = Node()
    old = await node.listening()
    await node.push("m1")
    old.leave()
    new = node.device()
    new.ack("m1")
    await new.subscribe()
    assert new.got() == []
    assert await node.pending() == []
    assert node.status("m1") == "delivered"
    assert node.trace("m1").acked_ms == node.clock.epoch_ms()


async def test_a_device_acknowledges_on_a_new_session_what_it_got_again_there() -> None:
    node = Node()
    old = await node.listening()
    await node.push("m1")
    old.leave()
    new = await node.listening()
    new.ack("m1")
    await node.pass_time(10)
    assert new.attempts() == [("m1", 2)]
    assert (await node.pending(), node.acks.open_records) == ([], 0)


async def test_an_acknowledgement_that_comes_after_the_retries_were_given_up_still_counts() -> None:
    node = Node(policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=0))
    device = await node.listening()
    await node.push("m1")
    await node.pass_time(2)
    assert device.open == []
    device.ack("m1")
    assert await node.pending() == []
    assert node.status("m1") == "delivered"


async def test_nobody_acknowledges_for_somebody_else() -> None:
    node = Node()
    ann, bob = await node.listening(), await node.listening("bob")
    await node.push("m1")
    bob.ack("m1")
    bob.ack_up_to("m1")
    assert list(ann.open) == ["m1"]
    assert await node.pending() == ["m1"]
    assert node.status("m1") == "sent"


# Cumulative


async def test_a_cumulative_acknowledgement_covers_all_that_was_sent_before_and_nothing_after() -> None:
    node = Node()
    device, other = await node.listening(), await node.listening()
    for n in range(5):
        await node.push(f"m{n}")
    device.ack("m1")
    device.ack_up_to("m3")
    assert list(device.open) == ["m4"]
    assert len(other.open) == 5
    assert await node.pending() == ["m4"]
    assert node.count(Acknowledged) == 4


async def test_a_cumulative_acknowledgement_goes_by_the_first_sending() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    await node.push("m2")
    device.nack("m1")
    await node.pass_time(20)
    device.ack_up_to("m1")
    assert list(device.open) == ["m2"]


async def test_a_cumulative_acknowledgement_of_what_is_not_open_counts_for_itself_alone() -> None:
    """The message was received by the session before, whose records are gone."""
    node = Node()
    old = await node.listening()
    await node.push("m1")
    await node.push("m2")
    old.leave()
    new = node.device()
    new.ack_up_to("m2")
    assert await node.pending() == ["m1"]
    assert node.status("m2") == "delivered"
    assert node.status("m1") == "sent"


async def test_a_cumulative_acknowledgement_of_what_is_not_open_leaves_all_that_is() -> None:
    node = Node()
    device = await node.listening()
    for n in range(3):
        await node.push(f"m{n}")
    device.ack("m1")
    device.ack_up_to("m1")
    device.ack_up_to("unknown")
    device.nack("unknown", cumulative=True)
    assert list(device.open) == ["m0", "m2"]
    assert await node.pending() == ["m0", "m2"]


async def test_acknowledging_all_one_by_one_cumulatively_looks_at_each_record_once() -> None:
    node = Node()
    device = await node.listening()
    for n in range(300):
        await node.push(f"m{n}")
    for n in range(300):
        assert len(node.acks.up_to(device.session, f"m{n}")) == 1
        device.ack_up_to(f"m{n}")
    assert (device.open, await node.pending()) == ([], [])


# NACK


async def test_a_refused_message_comes_again_after_the_retry_interval() -> None:
    node = Node(policy=RetryPolicy(wait_s=5, interval_s=3))
    device = await node.listening()
    await node.push("m1")
    await node.pass_time(4)
    device.nack("m1")
    await node.pass_time(2.75)
    assert device.attempts() == [("m1", 1)]
    await node.pass_time(0.5)
    assert device.attempts() == [("m1", 2)]
    await node.pass_time(3)
    assert device.attempts() == [("m1", 3)]
    assert await node.pending() == ["m1"]


async def test_refusing_may_bring_the_next_sending_forward() -> None:
    node = Node(policy=RetryPolicy(wait_s=10, interval_s=1))
    device = await node.listening()
    await node.push("m1")
    device.nack("m1")
    await node.pass_time(1.25)
    assert device.attempts() == [("m1", 1), ("m1", 2)]


async def test_refusing_again_and_again_does_not_outlive_the_message() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", ttl_ms=10_000)
    for _ in range(11):
        device.nack("m1")
        await node.pass_time(1)
    assert device.attempts() == [("m1", 1)]
    assert (device.open, await node.pending()) == ([], [])


async def test_refusing_what_is_not_open_changes_nothing() -> None:
    node = Node()
    device = await node.listening()
    device.nack("m1")
    await node.push("m1")
    device.ack("m1")
    device.nack("m1")
    device.nack("m1", cumulative=True)
    await node.pass_time(10)
    assert device.attempts() == [("m1", 1)]


async def test_a_cumulative_refusal_puts_off_all_that_was_sent_before() -> None:
    node = Node(policy=RetryPolicy(wait_s=10, interval_s=1))
    device = await node.listening()
    for n in range(3):
        await node.push(f"m{n}")
    device.nack("m1", cumulative=True)
    await node.pass_time(1.25)
    assert device.attempts() == [("m0", 1), ("m1", 1), ("m2", 1), ("m0", 2), ("m1", 2)]


@pytest.mark.parametrize("mode", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
async def test_a_resent_message_can_be_acknowledged_by_the_same_header(mode: AckMode) -> None:
    node = Node()
    device = node.device()
    await device.subscribe(mode)
    await node.push("m1")
    await node.pass_time(6)
    assert {message.frame.headers["ack"] for message in device.received()} == {"m1/0"}


async def test_what_is_acknowledged_after_unsubscribing_is_not_sent_to_the_session_again() -> None:
    node = Node()
    device, other = await node.listening(), await node.listening()
    await node.push("m1")
    device.unsubscribe()
    device.ack("m1")
    assert other.got() == ["m1"]
    await device.subscribe()
    message = NotifyMessage(id="m1", type="STRING_MSG", receiver="ann", data="hello", viewed=False, created=1)
    again = Envelope(message, MessageEncoder(message), node.clock.epoch_ms() + TTL_MS, persisted=True, seq=10**16)
    node.delivery.receive_message(again, UNORDERED)
    assert device.got() == ["m1"]


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_is_acknowledged_during_a_replay_does_not_come(is_known: bool) -> None:
    """The device has it from an earlier connection; after a restart its node does not know of it."""
    node = Node()
    await node.push("m1")
    await node.push("m2")
    device = node.device()
    device.transport.slow = True
    device.listen()
    replay = asyncio.ensure_future(device.replay())
    await asyncio.sleep(0)
    if not is_known:
        node.delivery._log.discard("m2")
    device.ack("m2")
    device.transport.slow = False
    await replay
    assert device.got() == ["m1"]
