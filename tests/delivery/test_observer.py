"""What observers are told of messages, and what becomes of observers that fail."""

import pytest

from app.delivery.observer import Acknowledged, Event, Expired, Resent, Sent, combine
from app.delivery.retry import RetryPolicy
from tests.delivery.node import Node


async def test_each_session_is_told_from_the_first_sending_to_the_acknowledgement() -> None:
    node = Node(policy=RetryPolicy(wait_s=5, interval_s=5, max_retries=3))
    device = await node.listening()
    await node.push("m1")
    sent_ms = node.clock.epoch_ms()
    node.clock.advance(5.1)
    await node.delivery.sweep()
    resent_ms = node.clock.epoch_ms()
    node.clock.advance(1)
    device.ack("m1")

    id, kind = device.session.id, "STRING_MSG"
    assert sent_ms < resent_ms
    assert node.events == [
        Sent("m1", kind, "ann", id, 1),
        Resent("m1", kind, "ann", id, 2, 1),
        Acknowledged("m1", kind, "ann", id, resent_ms, node.clock.epoch_ms()),
    ]


async def test_a_message_that_nobody_acknowledges_is_told_as_expired_for_each_session() -> None:
    node = Node(policy=RetryPolicy(wait_s=5, interval_s=5, max_retries=1))
    first, second = await node.listening(), await node.listening()
    await node.push("m1")
    for _ in range(3):
        node.clock.advance(5.1)
        await node.delivery.sweep()

    expired = [event for event in node.events if isinstance(event, Expired)]
    assert {event.session_id for event in expired} == {first.session.id, second.session.id}
    assert {(event.message_id, event.retries) for event in expired} == {("m1", 1)}


async def test_the_first_acknowledgement_on_a_later_session_is_told_once_and_without_a_time_of_sending() -> None:
    node = Node()
    old = await node.listening()
    await node.push("m1")
    old.leave()
    new = node.device()
    new.ack("m1")
    new.ack("m1")

    told = [event for event in node.events if isinstance(event, Acknowledged)]
    assert [(event.session_id, event.sent_ms) for event in told] == [(new.session.id, None)]


def test_an_observer_that_raises_harms_nobody_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("of the application")

    observer = combine([broken, seen.append])
    assert observer is not None
    events = [Expired("m1", "STRING_MSG", "s1", n) for n in range(3)]
    for event in events:
        observer(event)

    assert seen == events
    assert len([record for record in caplog.records if "of the application" in str(record.exc_info)]) == 1


async def test_messages_are_sent_and_acknowledged_without_observers() -> None:
    node = Node(policy=RetryPolicy(wait_s=5, interval_s=5, max_retries=1), is_observed=False)
    device, silent = await node.listening(), await node.listening()
    await node.push("m1")
    node.clock.advance(5.1)
    await node.delivery.sweep()
    device.ack("m1")
    node.clock.advance(5.1)
    await node.delivery.sweep()
    assert (device.got(), silent.got()) == (["m1", "m1"], ["m1", "m1"])
    assert node.status("m1") == "delivered"
    silent.leave()
    late = node.device()
    await node.push("m2")
    late.ack("m2")
    assert node.events == []


def test_without_observers_there_is_nothing_to_call() -> None:
    assert combine([]) is None
