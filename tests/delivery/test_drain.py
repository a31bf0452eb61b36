"""What a session gets that comes to a full inbox."""

import asyncio

import pytest

import app.delivery.drain
from app.delivery.retry import RetryPolicy
from tests.delivery.node import Device, Node
from tests.delivery.remote import RemoteInbox


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def slow_device(node: Node) -> Device:
    """Its transport has no room from the start."""
    device = node.device()
    device.transport.slow = True
    return device


async def one_frame(device: Device) -> None:
    """Room for one more frame, as soon as it is sent there is none."""

    def full() -> None:
        device.transport.slow = True

    device.transport.on_send = full
    device.transport.slow = False
    await turns()


# What comes


async def test_a_session_gets_what_waits_for_its_user_oldest_first() -> None:
    node = Node()
    for id in ("m3", "m1", "m2"):
        await node.push(id)
        node.clock.advance(0.01)
    await node.push("other", to="bob")
    device = await node.listening()
    assert device.attempts() == [("m3", 1), ("m1", 1), ("m2", 1)]
    assert list(device.open) == ["m3", "m1", "m2"]
    assert device.session.draining is None
    assert node.status("m1") == "sent"


async def test_what_has_expired_does_not_come() -> None:
    node = Node()
    await node.push("short", ttl_ms=1_000)
    await node.push("long")
    node.clock.advance(1)
    device = await node.listening()
    assert device.got() == ["long"]


async def test_what_expires_while_it_waits_for_a_slow_session_does_not_come() -> None:
    node = Node()
    await node.push("m1")
    await node.push("short", ttl_ms=1_000)
    device = await slow_device(node)
    drain = asyncio.create_task(device.subscribe())
    await turns()
    node.clock.advance(1)
    device.transport.slow = False
    await drain
    assert device.got() == ["m1"]
    assert list(device.open) == ["m1"]


async def test_messages_wait_until_the_time_to_live_and_then_nothing_is_left() -> None:
    node = Node()
    await node.push("m1")
    await node.pass_time(59.75)
    assert await node.pending() == ["m1"]
    await node.pass_time(0.5)
    assert (await node.listening()).got() == []
    assert node.inbox.size_bytes == 0  # type: ignore[attr-defined]
    assert node.status("m1") == "expired"


async def test_every_session_that_comes_gets_what_nobody_has_acknowledged() -> None:
    node = Node()
    await node.push("m1")
    await node.push("m2")
    first = await node.listening()
    first.ack("m1")
    second = await node.listening()
    assert first.attempts() == [("m1", 1), ("m2", 1)]
    assert second.attempts() == [("m2", 2)]


async def test_the_next_session_gets_what_the_last_one_left_open_as_redelivered() -> None:
    node = Node()
    first = await node.listening()
    await node.push("m1")
    await node.pass_time(11)
    first.leave()
    assert node.acks.open_records == 0
    assert await node.pending() == ["m1"]
    second = await node.listening()
    (message,) = second.received()
    assert (message.id, message.attempt) == ("m1", 4)
    assert second.open == ["m1"]
    second.ack("m1")
    assert (await node.pending(), node.acks.open_records) == ([], 0)


async def test_a_second_subscription_does_not_repeat_what_is_open() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    await device.subscribe()
    assert device.got() == ["m1"]


async def test_what_a_session_has_acknowledged_during_the_drain_does_not_come_again() -> None:
    """The drain looks again because of m3, and its first answer is old."""
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    await node.push("m1")
    await node.push("m2")
    device = await slow_device(node)
    drain = asyncio.create_task(device.subscribe())
    await one_frame(device)
    await node.push("m3")
    remove, inbox.remove = inbox.remove, lambda receiver, message_id: None  # type: ignore[method-assign]
    device.ack("m1")
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await drain
    assert device.attempts() == [("m1", 1), ("m2", 1), ("m3", 1)]
    remove("ann", "m1")


async def test_a_trace_that_the_log_forgot_is_remembered_with_the_drain() -> None:
    node = Node(log_size=1)
    await node.push("m1")
    await node.push("other", to="bob")
    device = await node.listening()
    assert node.status("m1") == "sent"
    device.ack("m1")
    assert node.status("m1") == "delivered"


# Order


async def test_what_is_pushed_during_a_drain_comes_behind_what_waited() -> None:
    node = Node()
    for id in ("m1", "m2", "m3"):
        await node.push(id)
    device = await slow_device(node)
    drain = asyncio.create_task(device.subscribe())
    for n in (4, 5, 6):
        await one_frame(device)
        outcome = await node.push(f"m{n}")
        assert (outcome.status, outcome.sessions) == ("sent", 1)
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await drain
    assert device.attempts() == [(f"m{n}", 1) for n in range(1, 7)]
    assert list(device.open) == [f"m{n}" for n in range(1, 7)]
    await node.push("m7")
    assert device.got() == ["m7"], "the drain is over"


async def test_what_is_pushed_between_subscribing_and_the_first_look_comes_once() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    assert device.listen()
    await node.push("m2")
    assert device.got() == []
    await device.drain()
    assert device.attempts() == [("m1", 1), ("m2", 1)]


async def test_what_wants_no_acknowledgement_is_not_kept_for_the_end_of_a_drain() -> None:
    """It is not in the inbox, where it could wait."""
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    assert (await node.push("m2", ack=False)).sessions == 1
    assert device.got() == ["m2"]
    await device.drain()
    assert device.got() == ["m1"]
    assert await node.pending() == ["m1"]


async def test_the_drain_of_one_session_does_not_hold_up_another() -> None:
    node = Node()
    await node.push("m1")
    quick = await node.listening()
    slow = await slow_device(node)
    drain = asyncio.create_task(slow.subscribe())
    await turns()
    await node.push("m2")
    assert quick.got() == ["m1", "m2"]
    assert slow.got() == []
    slow.transport.slow = False
    await drain
    assert slow.attempts() == [("m1", 2), ("m2", 2)]


# A slow session


async def test_a_slow_session_gets_one_frame_for_each_time_that_it_has_room() -> None:
    node = Node()
    for n in range(5):
        await node.push(f"m{n}")
    device = await slow_device(node)
    drain = asyncio.create_task(device.subscribe())
    await turns()
    assert device.got() == []
    for n in range(5):
        await one_frame(device)
        assert device.got() == [f"m{n}"]
    await drain
    assert device.session.draining is None


# Sessions that end


async def test_a_session_that_ends_in_the_middle_of_a_drain_gets_nothing_more() -> None:
    node = Node()
    for id in ("m1", "m2"):
        await node.push(id)
    device = await slow_device(node)
    drain = asyncio.create_task(device.subscribe())
    await one_frame(device)
    device.leave()
    device.transport.slow = False
    await drain
    assert device.got() == ["m1"]
    assert (node.acks.open_records, device.session.draining) == (0, None)
    heir = await node.listening()
    assert heir.attempts() == [("m1", 2), ("m2", 1)]


async def test_a_session_that_its_own_frame_ends_gets_nothing_more() -> None:
    node = Node()
    for id in ("m1", "m2"):
        await node.push(id)
    device = node.device()
    device.transport.on_send = device.leave
    await device.subscribe()
    assert device.got() == ["m1"]
    assert node.acks.open_records == 0
    assert await node.pending() == ["m1", "m2"]


async def test_a_session_that_ends_before_its_drain_begins_gets_nothing() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    device.leave()
    await device.drain()
    assert device.got() == []


# Unsubscribing


async def test_unsubscribing_closes_the_records_and_subscribing_again_delivers_again() -> None:
    node = Node()
    device = await node.listening()
    await node.push("m1")
    device.unsubscribe()
    assert (device.open, node.acks.open_records) == ([], 0)
    await node.push("m2")
    await device.subscribe()
    assert device.attempts() == [("m1", 1), ("m1", 2), ("m2", 1)]
    assert list(device.open) == ["m1", "m2"]


async def test_subscribing_again_during_a_drain_starts_it_over_and_the_old_one_ends() -> None:
    node = Node()
    for id in ("m1", "m2"):
        await node.push(id)
    device = await slow_device(node)
    old = asyncio.create_task(device.subscribe())
    await one_frame(device)
    assert device.got() == ["m1"]
    device.unsubscribe()
    new = asyncio.create_task(device.subscribe())
    await turns()
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await asyncio.gather(old, new)
    assert device.attempts() == [("m1", 2), ("m2", 1)]
    assert list(device.open) == ["m1", "m2"]
    assert device.session.draining is None


async def test_a_drain_that_was_replaced_while_the_inbox_answered_leaves_the_new_one_alone() -> None:
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    device = node.device()
    device.listen()
    old = asyncio.create_task(device.drain())
    while not inbox.looks:
        await turns(1)  # the inbox has looked and found nothing
    device.unsubscribe()
    device.listen()
    late = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    inbox.answering.clear()
    new = asyncio.create_task(device.drain())
    await old
    assert device.session.draining is not None
    inbox.answering.set()
    await asyncio.gather(new, late)
    assert device.got() == ["m1"]
    assert device.session.draining is None


# An inbox that cannot answer


async def test_a_drain_waits_for_an_inbox_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.drain, "RETRY_S", 0)
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    await node.push("m1")
    inbox.failures = 3
    device = await node.listening()
    assert device.got() == ["m1"]
    assert (inbox.failures, inbox.looks) == (0, 1)


async def test_a_session_that_ends_while_the_inbox_is_away_ends_its_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.drain, "RETRY_S", 0)
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    inbox.failures = 1_000_000
    device = node.device()
    drain = asyncio.create_task(device.subscribe())
    await turns()
    device.leave()
    await asyncio.wait_for(drain, 5)
    assert inbox.looks == 0


# Records of the session before


async def test_a_drain_sends_what_the_retries_gave_up() -> None:
    node = Node(policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=1))
    first = await node.listening()
    await node.push("m1")
    await node.pass_time(5)
    assert first.attempts() == [("m1", 1), ("m1", 2)]
    assert first.open == []
    await first.subscribe()
    assert first.attempts() == [("m1", 3), ("m1", 3)], "a frame for each of its two subscriptions"


async def test_many_messages_reach_many_sessions_with_one_look_each() -> None:
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    ids = [f"m{n}" for n in range(300)]
    for id in ids:
        await node.push(id)
    devices = [node.device() for _ in range(10)]
    await asyncio.gather(*(device.subscribe() for device in devices))
    assert [device.got() for device in devices] == [ids] * 10
    assert inbox.looks == 10
    for device in devices:
        device.ack(*ids)
    assert node.acks.open_records == 0
    assert await node.pending() == []
