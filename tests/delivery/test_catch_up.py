"""The relay was away: the mailbox says what was missed, acknowledged or not, and that comes before what is new."""

import asyncio
from typing import Any

import pytest

import app.delivery.replay
from app.delivery import streams
from app.delivery.mailbox import Placed
from app.disconnects import RESTART
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.node import TTL_MS, Device, Node
from tests.delivery.nodes import new_nodes, relay_of, store_of
from tests.delivery.remote import RemoteMailbox
from tests.delivery.test_replay import one_frame, slow_device, turns
from tests.eventually import eventually


def persisted(id: str) -> Envelope:
    message = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data="x", viewed=False, created=1)
    return Envelope(message, MessageEncoder(message), 1_700_000_000_000 + TTL_MS, persisted=True)


class Loss:
    """While it lasts the node hears nothing of the others."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.users = sorted(relay_of(node)._users)
        relay_of(node)._users.clear()

    async def ends(self) -> None:
        for user in self.users:
            relay_of(self.node).watch_user(user)
        self.node.delivery.resume(self.users)


async def test_what_was_missed_comes_in_its_order_and_nothing_twice() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await there.push("m1")
    loss = Loss(here)
    await there.push("m2")
    await there.push("m3")
    assert device.got() == ["m1"]
    await loss.ends()
    await there.push("m4")
    assert device.got() == [], "m4 waits for m2 and m3"
    await turns()
    assert device.attempts() == [("m2", 1), ("m3", 1), ("m4", 1)]
    assert list(device.open) == ["m1", "m2", "m3", "m4"]
    assert device.session.replay is None
    await there.push("m5")
    assert device.got() == ["m5"]


async def test_what_was_acknowledged_does_not_come_again() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await there.push("m1")
    device.ack("m1")
    loss = Loss(here)
    await loss.ends()
    await turns()
    assert device.got() == ["m1"]


async def test_only_the_users_that_are_named_catch_up_and_only_sessions_that_listen() -> None:
    here, there = new_nodes()
    ann, bob, idle = await here.listening("ann"), await here.listening("bob"), here.device("ann")
    loss = Loss(here)
    for user in ("ann", "bob"):
        await there.push(f"for-{user}", to=user)
    loss.users = ["ann", "nobody"]
    await loss.ends()
    await turns()
    assert (ann.got(), bob.got(), idle.got()) == (["for-ann"], [], [])
    assert idle.session.replay is None


@pytest.mark.parametrize("how", ["leave", "unsubscribe"])
async def test_a_session_that_goes_before_its_turn_gets_nothing(how: str) -> None:
    here, there = new_nodes()
    device, other = await here.listening(), await here.listening()
    loss = Loss(here)
    await there.push("m1")
    await loss.ends()
    getattr(device, how)()
    await turns()
    assert (device.got(), other.got()) == ([], ["m1"])
    assert device.session.replay is None


async def test_many_users_catch_up_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SLICE", 2)
    monkeypatch.setattr(streams, "PAUSE_S", 0.02)
    here, there = new_nodes()
    devices = [await here.listening(f"u{n}") for n in range(5)]
    loss = Loss(here)
    for n in range(5):
        await there.push(f"m{n}", to=f"u{n}")
    await loss.ends()
    await turns()
    assert [device.got() for device in devices] == [["m0"], ["m1"], [], [], []]
    await there.push("late", to="u4")
    await eventually(lambda: len(here.tasks) == 0)
    assert [device.got() for device in devices[2:]] == [["m2"], ["m3"], ["m4", "late"]]


@pytest.mark.parametrize("kind", ["transient", "persisted", "ack:false"])
async def test_what_was_acknowledged_elsewhere_meanwhile_comes_all_the_same(kind: str) -> None:
    here, there = new_nodes()
    cut, other = await here.listening(), await there.listening()
    loss = Loss(here)
    for id in ("m1", "m2"):
        if kind == "persisted":
            await there.delivery.push(persisted(id))
        else:
            await there.push(id, ack=kind == "transient")
    assert other.got() == ["m1", "m2"]
    other.ack("m1", "m2")
    await loss.ends()
    await turns()
    await there.push("m3")
    assert cut.attempts() == [("m1", 1), ("m2", 1), ("m3", 1)]


async def test_a_gap_shows_and_is_filled_although_nobody_said_that_the_relay_was_away() -> None:
    here, there = new_nodes()
    device = await here.listening()
    loss = Loss(here)
    await there.push("m1")
    relay_of(here)._users.update(loss.users)
    await there.push("m2")
    await turns()
    await there.push("m3")
    assert device.attempts() == [("m1", 1), ("m2", 1), ("m3", 1)]


async def test_a_gap_shows_with_a_push_of_this_node_too() -> None:
    here, there = new_nodes()
    device = await here.listening()
    loss = Loss(here)
    await there.push("m1")
    relay_of(here)._users.update(loss.users)
    outcome = await here.push("m2")
    assert (outcome.status, outcome.sessions) == ("sent", 1)
    await turns()
    assert device.attempts() == [("m1", 1), ("m2", 1)]


async def test_a_new_session_shows_that_the_subscription_has_missed_something(caplog: pytest.LogCaptureFixture) -> None:
    here, there = new_nodes()
    device = await here.listening()
    Loss(here)
    await there.push("m1")
    second = await here.listening()
    await turns()
    assert (device.got(), second.got()) == (["m1"], ["m1"])
    assert "did not arrive" in caplog.text
    await there.push("m2")
    assert device.got() == second.got() == ["m2"]


async def test_a_session_that_came_after_a_message_is_not_sent_it_by_the_catching_up() -> None:
    here, there = new_nodes()
    cut, other = await here.listening(), await there.listening()
    Loss(here)
    await there.push("m1")
    other.ack("m1")
    late = await here.listening()
    await turns()
    assert (cut.got(), late.got()) == (["m1"], [])


async def test_a_push_whose_answer_was_lost_is_found_when_catching_up() -> None:
    here, _ = new_nodes()
    device = await here.listening()
    put = here.mailbox.put

    async def put_without_answer(envelope: Envelope, **options: Any) -> Placed:
        await put(envelope, **options | {"on_accepted": lambda placed: None})
        raise Unavailable("the connection was lost")

    here.mailbox.put = put_without_answer  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await here.push("m1")
    here.mailbox.put = put  # type: ignore[method-assign]
    assert device.got() == []
    here.delivery.resume(["ann"])
    await turns()
    assert device.attempts() == [("m1", 1)]
    assert (await here.push("m1")).replayed
    await here.push("m2")
    assert device.got() == ["m2"]


async def test_what_the_log_no_longer_has_ends_the_sessions_of_that_user_alone() -> None:
    here, there = new_nodes()
    ann, bob, other = await here.listening("ann"), await here.listening("bob"), await there.listening("ann")
    loss = Loss(here)
    await there.push("m1")
    for n in range(2, 4):
        here.clock.advance(61)
        await there.push(f"m{n}")
    subscribing = here.device("ann")
    subscribing.listen()
    await loss.ends()
    await turns()
    assert ann.transport.reason is RESTART
    assert [device.transport.reason for device in (bob, other, subscribing)] == [None] * 3
    await there.push("for-bob", to="bob")
    assert bob.got() == ["for-bob"]
    ann.leave()
    await subscribing.replay()
    assert subscribing.got() == ["m3"], "the others have expired"


async def test_a_mailbox_that_has_lost_its_data_is_replayed_from_its_beginning() -> None:
    here, there = new_nodes()
    device = await here.listening()
    await there.push("old")
    loss = Loss(here)
    store = store_of(there)
    for state in (store._logs, store._heads, store._inboxes):
        state.clear()
    await there.push("m1")
    await there.push("m2")
    await loss.ends()
    await eventually(lambda: len(here.tasks) == 0)
    await there.push("m3")
    assert device.got() == ["old", "m1", "m2", "m3"]
    assert device.session.replay is None


async def test_a_resume_during_a_replay_sends_the_rest_once_and_in_its_order() -> None:
    here, there = new_nodes()
    for id in ("m1", "m2", "m3"):
        await there.push(id)
    device = await slow_device(here)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    await there.push("m4")
    loss = Loss(here)
    await there.push("m5")
    await loss.ends()
    await there.push("m6")
    await turns()
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await replay
    await turns()
    assert device.got() == ["m1", "m2", "m3", "m4", "m5", "m6"]
    assert list(device.open) == ["m1", "m2", "m3", "m4", "m5", "m6"]
    assert device.session.replay is None


async def test_two_losses_in_a_row_are_like_one() -> None:
    here, there = new_nodes()
    device = await here.listening()
    loss = Loss(here)
    await there.push("m1")
    await loss.ends()
    again = Loss(here)
    await there.push("m2")
    await again.ends()
    await there.push("m3")
    await turns()
    assert device.got() == ["m1", "m2", "m3"]
    await eventually(lambda: device.session.replay is None)


# While a SUBSCRIBE waits for the confirmation of the relay


async def subscribed_during_a_loss(here: Node, there: Node) -> Device:
    """It listens, and has not heard that the others know; meanwhile the relay was away and back."""
    device = here.device()
    device.listen()
    loss = Loss(here)
    await there.push("m1")
    await loss.ends()
    await there.push("m2")
    return device


async def test_a_resume_before_the_replay_of_a_subscribe_sends_all_once() -> None:
    here, there = new_nodes()
    device = await subscribed_during_a_loss(here, there)
    await turns()
    assert device.got() == []
    await device.replay()
    await turns()
    assert device.got() == ["m1", "m2"]
    assert device.session.replay is None
    await there.push("m3")
    assert device.got() == ["m3"]


async def test_a_resume_and_the_replay_of_a_subscribe_at_once_send_all_once() -> None:
    here, there = new_nodes()
    device = await subscribed_during_a_loss(here, there)
    await asyncio.gather(device.replay(), device.replay())
    await turns()
    assert device.got() == ["m1", "m2"]
    assert device.session.replay is None


async def test_a_resume_while_the_mailbox_is_away_sends_all_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.replay, "READ_RETRY_S", 0.02)
    mailbox = RemoteMailbox()
    node = Node(mailbox=mailbox)
    await node.push("m1")
    mailbox.failures = 1
    device = node.device()
    replay = asyncio.create_task(device.subscribe())
    await turns()
    assert device.session.replay is not None, "the mailbox is to be read again"
    node.delivery.resume(["ann"])
    await asyncio.wait_for(replay, 30)
    await turns()
    assert (mailbox.reads, device.got()) == (1, ["m1"])
    await node.push("m2")
    assert device.got() == ["m2"]
