"""To everybody who is online, at most once."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.delivery.log import PushOutcome
from app.errors import IdConflict, Unavailable
from app.hub.publication import Publication, Published
from app.messages.message import NotifyMessage
from tests.clock import FakeClock
from tests.delivery.node import Node


class BrokenRelay(MemoryRelay):
    """Cannot broadcast while `failures` last."""

    def __init__(self) -> None:
        super().__init__(MemoryBus())
        self.failures = 1
        self.unreached: Sequence[str] = ()

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise Unavailable("no relay")
        return Published(self.unreached)


def nodes(count: int = 3) -> list[Node]:
    bus, clock = MemoryBus(), FakeClock()
    return [Node(clock=clock, relay=bus.relay()) for _ in range(count)]


async def broadcast(node: Node, id: str = "b1", data: str = "all", **options: Any) -> PushOutcome:
    message = NotifyMessage(
        id=id, type="STRING_MSG", receiver=None, data=data, viewed=False, created=node.clock.epoch_ms()
    )
    return await node.delivery.broadcast(message, **options)


async def test_a_broadcast_reaches_the_sessions_of_all_nodes_once() -> None:
    cluster = nodes()
    devices = [await node.listening(user) for node in cluster for user in ("ann", "bob")]
    outcome = await broadcast(cluster[0])
    assert (outcome.id, outcome.receiver, outcome.status, outcome.sessions) == ("b1", None, "sent", 2)
    for device in devices:
        (message,) = device.received()
        assert (message.body["data"], message.body["receiver"], message.attempt) == ("all", None, 1)
        assert message.last_sent_ms == cluster[0].clock.epoch_ms()


async def test_a_broadcast_is_neither_kept_nor_repeated() -> None:
    cluster = nodes()
    device = await cluster[1].listening()
    await broadcast(cluster[0])
    for node in cluster:
        await node.pass_time(20)
        assert (node.acks.open_records, await node.pending()) == (0, [])
    assert device.got() == ["b1"]
    assert (await cluster[1].listening()).got() == []


async def test_a_broadcast_that_nobody_heard_was_sent() -> None:
    node = Node()
    outcome = await broadcast(node)
    assert (outcome.status, outcome.sessions) == ("sent", 0)
    trace = node.trace("b1")
    assert (trace.receiver, trace.type, trace.acknowledged) == (None, "STRING_MSG", False)
    assert node.status("b1") == "sent"


async def test_a_session_without_a_subscription_hears_nothing() -> None:
    node = Node()
    device = node.device()
    assert (await broadcast(node)).sessions == 0
    assert device.got() == []


async def test_a_broadcast_to_a_topic_reaches_its_subscribers_only() -> None:
    cluster = nodes()
    private, public = await cluster[1].listening(), cluster[1].device()
    public.listen_to("/topic/a")
    await broadcast(cluster[0], destination="/topic/a")
    assert private.got() == []
    (frame,) = public.transport.frames()
    assert (frame.headers["destination"], json.loads(frame.body)["data"]) == ("/topic/a", "all")


async def test_what_is_published_goes_out_as_it_is_and_is_not_remembered() -> None:
    cluster = nodes()
    devices = [node.device() for node in cluster]
    for device in devices:
        device.listen_to("/topic/a")
    publication = Publication(message_id="p1", destination="/topic/a", body=b"\xff", binary=True)
    assert await cluster[0].delivery.publish(publication) == 1
    assert [device.transport.frames()[0].body for device in devices] == [b"\xff"] * 3
    assert cluster[0].delivery.trace("p1") is None


async def test_acknowledging_a_broadcast_is_no_error() -> None:
    node = Node()
    device = await node.listening()
    await broadcast(node)
    device.ack("b1")
    device.ack_up_to("b1")
    device.nack("b1")
    assert node.trace("b1").acked_ms is None
    assert node.status("b1") == "sent"


async def test_a_broadcast_overtakes_nothing_that_a_replay_has_yet_to_send() -> None:
    node = Node()
    await node.push("m1")
    device = node.device()
    device.listen()
    await broadcast(node)
    await device.replay()
    assert device.got() == ["m1", "b1"]


# Ids


async def test_a_broadcast_with_the_same_id_and_content_is_not_sent_again() -> None:
    node = Node()
    device = await node.listening()
    first = await broadcast(node)
    node.clock.advance(1)
    again = await broadcast(node)
    assert (first.replayed, again.replayed, again.sessions) == (False, True, 1)
    assert device.got() == ["b1"]


async def test_a_broadcast_with_the_id_of_something_else_is_a_conflict() -> None:
    node = Node()
    device = await node.listening()
    await broadcast(node)
    await node.push("m1", data="all")
    with pytest.raises(IdConflict):
        await broadcast(node, data="other")
    with pytest.raises(IdConflict):
        await broadcast(node, destination="/topic/a")
    with pytest.raises(IdConflict):
        await broadcast(node, "m1")
    with pytest.raises(IdConflict):
        await node.push("b1", data="all")
    assert device.got() == ["b1", "m1"]
    device.ack("m1")
    assert node.status("m1") == "delivered"


async def test_a_broadcast_that_the_relay_cannot_take_reaches_nobody_and_frees_its_id() -> None:
    node = Node(relay=BrokenRelay())
    device = await node.listening()
    with pytest.raises(Unavailable):
        await broadcast(node)
    assert device.got() == []
    assert node.delivery.trace("b1") is None
    assert not (await broadcast(node, data="second try")).replayed
    assert device.got() == ["b1"]


async def test_a_broadcast_names_the_nodes_that_did_not_hear_it_also_to_who_asks_again() -> None:
    relay = BrokenRelay()
    relay.failures, relay.unreached = 0, ["n2"]
    node = Node(relay=relay)
    first, again = await broadcast(node), await broadcast(node)
    assert (first.unreached, first.replayed) == (["n2"], False)
    assert (again.unreached, again.replayed) == (["n2"], True)


@pytest.mark.parametrize("destination", ["/user/queue/msg", "/topic/a"])
async def test_a_broadcast_with_a_given_id_is_not_repeated_by_another_node(destination: str) -> None:
    cluster = nodes()
    devices = [node.device() for node in cluster]
    for device in devices:
        device.listen_to(destination)
    first = await broadcast(cluster[0], destination=destination, given_id=True)
    for node in cluster[1:]:
        for _ in range(2):
            again = await broadcast(node, destination=destination, given_id=True)
            assert (again.id, again.status, again.sessions, again.replayed) == ("b1", "sent", 0, True)
        with pytest.raises(IdConflict):
            await broadcast(node, data="other", destination=destination, given_id=True)
    assert (first.sessions, first.replayed) == (1, False)
    assert [len(device.transport.frames()) for device in devices] == [1, 1, 1]


async def test_a_broadcast_that_is_on_its_way_is_to_be_tried_again() -> None:
    relay = BrokenRelay()
    relay.failures = 0
    node = Node(relay=relay)
    first = asyncio.create_task(broadcast(node))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="right now"):
        await broadcast(node)
    assert not (await first).replayed
