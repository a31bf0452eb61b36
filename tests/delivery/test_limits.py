"""What a device that does not acknowledge, or does not read, can cost."""

import logging

import pytest

from app.delivery.retry import RetryPolicy
from app.disconnects import SLOW_CONSUMER
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.node import TTL_MS, Node


async def test_a_session_that_leaves_too_many_unacknowledged_is_cut_off_and_loses_nothing() -> None:
    node = Node(max_open_per_session=3)
    lazy = await node.listening()

    for number in range(4):
        await node.push(f"m{number}")

    assert lazy.transport.reason is SLOW_CONSUMER
    assert lazy.got() == ["m0", "m1", "m2"]
    assert list(lazy.open) == ["m0", "m1", "m2"]
    assert await node.pending() == ["m0", "m1", "m2", "m3"]


async def test_messages_that_need_no_acknowledgement_count_towards_no_limit() -> None:
    node = Node(max_open_per_session=1)
    device = await node.listening()

    for number in range(3):
        await node.push(f"m{number}", ack=False)

    assert device.transport.reason is None
    assert device.got() == ["m0", "m1", "m2"]


async def test_a_device_that_has_not_read_yet_is_not_sent_more_until_it_has() -> None:
    node = Node(policy=RetryPolicy(wait_s=5, interval_s=5))
    device = await node.listening()
    await node.push("m1")
    assert device.got() == ["m1"]

    device.transport.slow = True
    await node.pass_time(11)
    assert device.got() == []
    device.transport.slow = False
    await node.pass_time(5)

    assert device.attempts() == [("m1", 2)]


async def test_a_device_that_never_reads_does_not_keep_a_message_beyond_its_time() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1", ttl_ms=12_000)
    device.transport.slow = True

    await node.pass_time(13)

    assert node.acks.open_records == 0
    assert await node.pending() == []


async def test_the_fault_of_one_session_does_not_cost_the_others_their_resends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node()
    faulty, other = await node.listening(), await node.listening()
    await node.push("m1")
    faulty.received(), other.received()

    def fail() -> None:
        raise RuntimeError("broken")

    faulty.transport.on_send = fail
    with caplog.at_level(logging.ERROR):
        await node.pass_time(6)

    assert other.attempts() == [("m1", 2)]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_what_a_session_has_open_is_not_sent_again_by_a_caller_who_hides_that_he_chose_the_id() -> None:
    node = Node(log_size=1)
    device = await node.listening()

    for message_id in ("m1", "m2", "m1"):
        message = NotifyMessage(message_id, "STRING_MSG", "ann", "hello", False, node.clock.epoch_ms())
        envelope = Envelope(message, MessageEncoder(message), node.clock.epoch_ms() + TTL_MS)
        await node.delivery.push(envelope)

    assert device.transport.reason is None
    assert device.got() == ["m1", "m2"]
    assert sorted(device.open) == ["m1", "m2"]
