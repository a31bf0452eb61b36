"""The relay was away: what was missed is in the inbox, and comes before what is new."""

import asyncio

import pytest

import app.delivery.drain
from tests.delivery.node import Device, Node
from tests.delivery.nodes import new_nodes, relay_of
from tests.delivery.remote import RemoteInbox
from tests.delivery.test_drain import one_frame, slow_device, turns


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
    assert device.session.draining is None
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


async def test_only_the_users_that_are_named_are_drained_and_only_sessions_that_listen() -> None:
    here, there = new_nodes()
    ann, bob, idle = await here.listening("ann"), await here.listening("bob"), here.device("ann")
    loss = Loss(here)
    for user in ("ann", "bob"):
        await there.push(f"for-{user}", to=user)
    loss.users = ["ann", "nobody"]
    await loss.ends()
    await turns()
    assert (ann.got(), bob.got(), idle.got()) == (["for-ann"], [], [])
    assert idle.session.draining is None


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
    assert device.session.draining is None


async def test_many_sessions_are_drained_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.drain, "RESUME_SLICE", 2)
    monkeypatch.setattr(app.delivery.drain, "RESUME_PAUSE_S", 0.02)
    here, there = new_nodes()
    devices = [await here.listening(f"u{n}") for n in range(5)]
    loss = Loss(here)
    for n in range(5):
        await there.push(f"m{n}", to=f"u{n}")
    await loss.ends()
    await turns()
    assert [device.got() for device in devices] == [["m0"], ["m1"], [], [], []]
    await there.push("late", to="u4")
    await asyncio.sleep(0.1)
    assert [device.got() for device in devices[2:]] == [["m2"], ["m3"], ["m4", "late"]]


async def test_a_resume_during_a_drain_sends_the_rest_once_and_in_its_order() -> None:
    here, there = new_nodes()
    for id in ("m1", "m2", "m3"):
        await there.push(id)
    device = await slow_device(here)
    drain = asyncio.create_task(device.subscribe())
    await one_frame(device)
    await there.push("m4")
    loss = Loss(here)
    await there.push("m5")
    await loss.ends()
    await there.push("m6")
    await turns()
    device.transport.on_send = lambda: None
    device.transport.slow = False
    await drain
    await turns()
    assert device.got() == ["m1", "m2", "m3", "m4", "m5", "m6"]
    assert list(device.open) == ["m1", "m2", "m3", "m4", "m5", "m6"]
    assert device.session.draining is None


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
    assert device.session.draining is None


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


async def test_a_resume_before_the_drain_of_a_subscribe_sends_all_once() -> None:
    here, there = new_nodes()
    device = await subscribed_during_a_loss(here, there)
    await turns()
    assert device.attempts() == [("m1", 1), ("m2", 1)]
    await device.drain()
    assert device.got() == []
    assert device.session.draining is None
    await there.push("m3")
    assert device.got() == ["m3"]


async def test_a_resume_and_the_drain_of_a_subscribe_at_once_send_all_once() -> None:
    here, there = new_nodes()
    device = await subscribed_during_a_loss(here, there)
    await asyncio.gather(device.drain(), device.drain())
    await turns()
    assert device.attempts() == [("m1", 1), ("m2", 1)]
    assert device.session.draining is None


async def test_a_drain_that_waits_for_the_inbox_gives_way_to_the_one_of_the_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app.delivery.drain, "RETRY_S", 0.02)
    inbox = RemoteInbox()
    node = Node(inbox=inbox)
    await node.push("m1")
    inbox.failures = 1
    device = node.device()
    drain = asyncio.create_task(device.subscribe())
    await turns()
    assert device.session.draining is None, "it failed, and is to be tried again"
    node.delivery.resume(["ann"])
    await turns()
    assert device.got() == ["m1"]
    await asyncio.wait_for(drain, 5)
    assert (inbox.looks, device.got(), device.session.draining) == (1, [], None)
