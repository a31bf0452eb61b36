"""What a session gets that subscribes while messages wait."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

import app.delivery.replay
from app.cluster.mailbox.memory import MemoryMailbox
from app.cluster.wire import UNORDERED
from app.delivery.retry import RetryPolicy
from app.hub.publication import Publication
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.node import TTL_MS, Device, Node
from tests.delivery.remote import RemoteMailbox
from tests.eventually import eventually


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
    assert device.session.replay is None
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
    replay = asyncio.create_task(device.subscribe())
    await turns()
    node.clock.advance(1)
    device.transport.slow = False
    await replay
    assert device.got() == ["m1"]
    assert list(device.open) == ["m1"]


async def test_messages_wait_until_the_time_to_live_and_then_nothing_is_left() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox, clock=mailbox.clock)
    await node.push("m1")
    await node.pass_time(59.75)
    assert await node.pending() == ["m1"]
    await node.pass_time(0.5)
    assert (await node.listening()).got() == []
    assert mailbox.store.size_bytes == 0
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


async def test_what_a_session_has_acknowledged_during_the_replay_does_not_come_again() -> None:
    node = Node()
    await node.push("m1")
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    await turns()
    assert (await node.push("m2")).sessions == 1
    await one_frame(device)
    await one_frame(device)
    assert device.attempts() == [("m1", 1), ("m2", 1)]
    device.ack("m1", "m2")
    await replay
    assert (device.got(), await node.pending()) == ([], [])


async def test_a_trace_that_the_log_forgot_is_remembered_with_the_replay() -> None:
    node = Node(log_size=1)
    await node.push("m1")
    await node.push("other", to="bob")
    device = await node.listening()
    assert node.status("m1") == "sent"
    device.ack("m1")
    assert node.status("m1") == "delivered"


# Order


async def test_what_is_pushed_during_a_replay_comes_behind_what_waited() -> None:
    node = Node()
    for id in ("m1", "m2", "m3"):
        await node.push(id)
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    for n in (4, 5, 6):
        await one_frame(device)
        outcome = await node.push(f"m{n}")
        assert (outcome.status, outcome.sessions) == ("sent", 1)
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await replay
    assert device.attempts() == [(f"m{n}", 1) for n in range(1, 7)]
    assert list(device.open) == [f"m{n}" for n in range(1, 7)]
    await node.push("m7")
    assert device.got() == ["m7"], "the replay is over"


async def test_what_is_pushed_between_subscribing_and_the_first_look_comes_once() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    assert device.listen()
    await node.push("m2")
    assert device.got() == []
    await device.replay()
    assert device.attempts() == [("m1", 1), ("m2", 1)]


async def test_what_another_session_acknowledged_before_the_first_look_does_not_come() -> None:
    """A node that catches up holds it for a new session as well, which has no use for it."""
    node = Node()
    first = await node.listening()
    late = node.device()
    late.listen()
    await node.push("m1")
    await node.push("m2")
    first.ack("m1")
    await late.replay()
    assert late.got() == ["m2"]


async def test_what_wants_no_acknowledgement_is_held_in_its_order() -> None:
    """It is held here alone: it is not in the inbox."""
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    assert (await node.push("m2", ack=False)).sessions == 1
    await node.push("m3")
    assert device.got() == []
    await device.replay()
    assert device.attempts() == [("m1", 1), ("m2", 1), ("m3", 1)]
    assert await node.pending() == ["m1", "m3"]


async def test_a_broadcast_is_held_in_its_order() -> None:
    node = Node()
    await node.push("m1")
    device, other = node.device(), await node.listening("bob")
    device.listen()
    await node.push("m2")
    message = NotifyMessage(id="news", type="STRING_MSG", receiver=None, data="x", viewed=False, created=1)
    assert (await node.delivery.broadcast(message)).sessions == 2
    await node.push("m3")
    assert (device.got(), other.got()) == ([], ["news"])
    await device.replay()
    assert device.got() == ["m1", "m2", "news", "m3"]


async def test_the_replay_of_one_session_does_not_hold_up_another() -> None:
    node = Node()
    await node.push("m1")
    quick = await node.listening()
    slow = await slow_device(node)
    replay = asyncio.create_task(slow.subscribe())
    await turns()
    await node.push("m2")
    assert quick.got() == ["m1", "m2"]
    assert slow.got() == []
    slow.transport.slow = False
    await replay
    assert slow.attempts() == [("m1", 2), ("m2", 2)]


async def test_a_broadcast_is_held_once_and_sent_to_each_subscription() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    device.listen()
    publication = Publication(message_id="news", destination=USER_MESSAGES, body=b"{}")
    assert await node.delivery.publish(publication) == 1
    await device.replay()
    ids = [frame.headers["message-id"] for frame in device.transport.frames()]
    assert ids == ["m1", "m1", "news", "news"]


# A slow session


async def test_a_slow_session_gets_one_frame_for_each_time_that_it_has_room() -> None:
    node = Node()
    for n in range(5):
        await node.push(f"m{n}")
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    await turns()
    assert device.got() == []
    for n in range(5):
        await one_frame(device)
        assert device.got() == [f"m{n}"]
    await replay
    assert device.session.replay is None


# Sessions that end


async def test_a_session_that_ends_in_the_middle_of_a_replay_gets_nothing_more() -> None:
    node = Node()
    for id in ("m1", "m2"):
        await node.push(id)
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    device.leave()
    device.transport.slow = False
    await replay
    assert device.got() == ["m1"]
    assert (node.acks.open_records, device.session.replay) == (0, None)
    heir = await node.listening()
    assert heir.attempts() == [("m1", 2), ("m2", 2)], "m2 was read for a session, and may have been sent"


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


async def test_a_session_that_ends_before_its_replay_begins_gets_nothing() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    device.leave()
    await device.replay()
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


async def test_subscribing_again_during_a_replay_starts_it_over_and_the_old_one_ends() -> None:
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
    assert device.attempts() == [("m1", 2), ("m2", 2)], "m2 was read for a session, and may have been sent"
    assert list(device.open) == ["m1", "m2"]
    assert device.session.replay is None


async def test_a_replay_that_was_replaced_while_the_inbox_answered_leaves_the_new_one_alone() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    device = node.device()
    device.listen()
    old = asyncio.create_task(device.replay())
    while not mailbox.reads:
        await turns(1)  # the inbox has looked and found nothing
    device.unsubscribe()
    device.listen()
    late = asyncio.create_task(node.push("m1"))
    await asyncio.sleep(0)
    mailbox.answering.clear()
    new = asyncio.create_task(device.replay())
    await old
    assert device.session.replay is not None
    mailbox.answering.set()
    await asyncio.gather(new, late)
    assert device.got() == ["m1"]
    assert device.session.replay is None


# A mailbox that cannot answer


async def test_a_replay_waits_for_an_inbox_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.replay, "READ_RETRY_S", 0)
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    await node.push("m1")
    mailbox.failures = 3
    device = await node.listening()
    assert device.got() == ["m1"]
    assert (mailbox.failures, mailbox.reads) == (0, 1)


async def test_a_session_that_ends_while_the_inbox_is_away_ends_its_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.replay, "READ_RETRY_S", 0)
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    mailbox.failures = 1_000_000
    device = node.device()
    replay = asyncio.create_task(device.subscribe())
    await turns()
    device.leave()
    await asyncio.wait_for(replay, 30)
    assert mailbox.reads == 0


# Records of the session before


async def test_a_replay_sends_what_the_retries_gave_up() -> None:
    node = Node(policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=1))
    first = await node.listening()
    await node.push("m1")
    await node.pass_time(5)
    assert first.attempts() == [("m1", 1), ("m1", 2)]
    assert first.open == []
    first.unsubscribe()
    await first.subscribe()
    assert first.attempts() == [("m1", 3)]


async def test_many_messages_reach_many_sessions_with_one_look_each() -> None:
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    ids = [f"m{n}" for n in range(300)]
    for id in ids:
        await node.push(id)
    devices = [node.device() for _ in range(10)]
    await asyncio.gather(*(device.subscribe() for device in devices))
    assert [device.got() for device in devices] == [ids] * 10
    assert mailbox.reads == 10
    for device in devices:
        device.ack(*ids)
    assert node.acks.open_records == 0
    assert await node.pending() == []


class StreamedMailbox(RemoteMailbox):
    """Shows the head when the store answers, as Redis does; who reads sees the answer once `answering`."""

    async def read(  # type: ignore[override]
        self, user: str, now_ms: int, on_head: Callable[[int], None]
    ) -> Sequence[Envelope]:
        envelopes = self.store.read(user, now_ms)
        on_head(self.store.head(user))
        await self._answer()
        return envelopes

    put = MemoryMailbox.put


async def test_second_reading_for_the_same_replay_costs_nothing_that_came_between_the_two() -> None:
    """A client that subscribes, unsubscribes and subscribes at once has its mailbox read twice."""
    node = Node(mailbox=(mailbox := StreamedMailbox()))
    other, device = await node.listening(), node.device()
    mailbox.answering.clear()
    device.listen()
    first = asyncio.create_task(device.replay())
    await turns()
    await node.push("m1")
    second = asyncio.create_task(device.replay())
    await turns()
    other.ack("m1")
    mailbox.answering.set()
    await asyncio.gather(first, second)
    await turns()
    assert (other.got(), device.got()) == (["m1"], ["m1"])


async def test_a_new_history_is_replayed_to_the_sessions_of_the_old_one_alone() -> None:
    node = Node()
    old, new = await node.listening(), await node.listening()
    coming = node.device()
    coming.listen()
    old.session.since, new.session.since = 5, 7
    start = node.delivery._restart("ann", {7, 9})
    replay = coming.session.replay
    assert (old.session.since, new.session.since, coming.session.since) == (0, 7, None)
    await node.push("m1")
    assert (old.got(), new.got(), coming.got()) == ([], ["m1"], [])
    start()
    await eventually(lambda: old.session.replay is None)
    assert old.got() == ["m1"]
    assert coming.session.replay is replay


async def test_a_session_that_had_read_a_new_history_gets_nothing_from_before() -> None:
    """Its place is in a later part of the history than the first, so nothing told of it when the replay began."""
    node = Node()
    late, early = await node.listening(), await node.listening()
    starts = []
    for device, since in ((late, 7), (early, 5)):
        device.session.since = since
        starts.append(node.delivery._replay.restart(device.session))
    for seq in (6, 7, 8):
        message = NotifyMessage(f"m{seq}", "STRING_MSG", "ann", "hello", False, 1)
        expires_ms = node.clock.epoch_ms() + TTL_MS
        envelope = Envelope(message, MessageEncoder(message), expires_ms, acknowledged=False, seq=seq)
        node.delivery.receive_message(envelope, UNORDERED)
    for start in starts:
        start()
    await eventually(lambda: late.session.replay is None and early.session.replay is None)
    assert (late.got(), early.got()) == (["m8"], ["m6", "m7", "m8"])
