"""Broadcasts keep their place among the messages of a user, also where a node has missed some of those."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

import app.delivery.replay
from app.cluster.mailbox.redis import RedisMailbox
from app.cluster.node import ClusterNode
from app.delivery import streams
from app.delivery.archive import NoArchive
from app.delivery.mailbox import MailboxLimits
from app.errors import Unavailable
from app.hub import held
from app.hub.publication import Publication
from app.messages.destinations import USER_MESSAGES
from app.messages.message import NotifyMessage
from tests.clock import FakeClock
from tests.delivery.node import Device, Node
from tests.delivery.nodes import new_nodes, store_of
from tests.delivery.test_catch_up import Loss
from tests.delivery.test_replay import slow_device, turns
from tests.eventually import eventually
from tests.nodes import running, running_node
from tests.proxy import Proxy, running_proxy
from tests.valkey import fresh_database, valkey


def news(id: str, seq: int = 0) -> Publication:
    return Publication(message_id=id, destination=USER_MESSAGES, body=b"{}", seq=seq)


def got(device: Device) -> list[str]:
    """Ids that came since the last look."""
    return [frame.headers["message-id"] for frame in device.transport.frames(device.session.version)]


async def push_and_place(node: Node, id: str) -> int:
    """Push a message, and return a seq between its own and the next one."""
    await node.push(id)
    node.clock.advance(1)
    return store_of(node).head("ann") + 1


# Catching up


async def test_broadcasts_come_between_the_missed_messages_where_they_were_published() -> None:
    here, there = new_nodes()
    device = await here.listening()
    before = await push_and_place(there, "m1")
    loss = Loss(here)
    between = await push_and_place(there, "m2")
    behind = await push_and_place(there, "m3")
    await loss.ends()
    for publication in (news("b1", before), news("unknown"), news("b2", between), news("b3", behind)):
        await here.delivery.receive_publication(publication)
    assert got(device) == ["m1"]
    await turns()
    assert got(device) == ["b1", "m2", "b2", "m3", "unknown", "b3"]
    await here.delivery.receive_publication(news("b4", behind + 1))
    assert got(device) == ["b4"], "nothing is missing"


async def test_broadcasts_wait_while_the_relay_is_away_and_older_ones_come_before_an_own_push() -> None:
    here, there = new_nodes()
    device, idle = await here.listening(), here.device()
    place = await push_and_place(there, "m1")
    here.delivery.lose(["ann", "nobody"])
    await here.delivery.receive_publication(news("b1", place))
    assert got(device) == ["m1"]
    await here.push("m2")
    assert got(device) == ["b1", "m2"]
    await here.delivery.receive_publication(news("b2", store_of(here).head("ann") + 1))
    here.delivery.resume(["ann"])
    await turns()
    assert (got(device), got(idle)) == (["b2"], [])


async def test_a_broadcast_waits_for_one_session_as_often_as_it_has_subscriptions_and_no_longer_than_it_is_there() -> (
    None
):
    here, _ = new_nodes()
    device, gone = await here.listening(), await here.listening()
    device.listen()
    here.delivery.lose(["ann"])
    await here.delivery.receive_publication(news("b1"))
    gone.leave()
    here.delivery.resume(["ann"])
    await turns()
    assert (got(device), got(gone)) == (["b1", "b1"], [])


async def test_when_too_many_broadcasts_wait_the_oldest_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD", 2)
    here, _ = new_nodes()
    device = await here.listening()
    here.delivery.lose(["ann"])
    for number in range(3):
        await here.delivery.receive_publication(news(f"b{number}"))
    assert got(device) == ["b0"]
    here.delivery.resume(["ann"])
    await turns()
    assert got(device) == ["b1", "b2"]


# A replay meanwhile


async def test_a_replay_places_the_broadcasts_among_what_it_has_read() -> None:
    here, there = new_nodes()
    other = await here.listening()
    places = [await push_and_place(there, id) for id in ("m1", "m2", "m3")]
    here.delivery.lose(["ann"])
    device = here.device()
    device.listen()
    for number, place in enumerate(places, start=1):
        await here.delivery.receive_publication(news(f"b{number}", place))
    await device.replay()
    assert got(device) == ["m1", "b1", "m2", "b2", "m3"]
    here.delivery.resume(["ann"])
    await turns()
    assert (got(device), got(other)) == (["b3"], ["m1", "m2", "m3", "b1", "b2", "b3"])


async def test_what_was_missed_and_its_broadcasts_wait_for_a_slow_replay() -> None:
    here, there = new_nodes()
    other = await here.listening()
    await push_and_place(there, "m1")
    other.leave()
    device = await slow_device(here)
    await _begin(device)
    place = await push_and_place(there, "m2")
    loss = Loss(here)
    behind = await push_and_place(there, "m3")
    await push_and_place(there, "m4")
    await loss.ends()
    await here.delivery.receive_publication(news("b3", behind))
    await here.delivery.receive_publication(news("b2", place))
    await turns()
    device.transport.slow = False
    await eventually(lambda: device.session.replay is None)
    assert got(device) == ["m1", "m2", "b2", "m3", "b3", "m4"]


class FlakyArchive(NoArchive):
    """Cannot be read until it `answers`."""

    def __init__(self) -> None:
        self.answers = False
        self.asked = 0

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        self.asked += 1
        if not self.answers:
            raise Unavailable("the archive is away")
        return False


async def test_an_archive_is_tried_again_while_broadcasts_wait_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app.delivery.replay, "RETRY_S", 0.01)
    archive = FlakyArchive()
    node = Node(archive=archive)
    device = node.device()
    device.listen()
    node.delivery.replay(device.session)
    await eventually(lambda: device.session.replay is None and archive.asked > 0)
    node.delivery.lose(["ann"])
    await node.delivery.receive_publication(news("b1"))
    asked = archive.asked
    await eventually(lambda: archive.asked > asked + 1)
    assert got(device) == []
    archive.answers = True
    await eventually(lambda: len(node.tasks) == 0)
    assert (got(device), device.session.replay) == ([], None)
    node.delivery.resume(["ann"])
    await turns()
    assert got(device) == ["b1"]


# With Redis


@dataclass
class Service:
    """A node with sessions, on a connection to Redis."""

    cluster: ClusterNode
    node: Node

    async def listening(self, user: str) -> Device:
        device = self.node.device(user)
        if (watching := self.node.delivery.watch(device.session, USER_MESSAGES)) is not None:
            await watching
        await device.subscribe()
        return device

    async def broadcast(self, id: str) -> None:
        await self.node.delivery.broadcast(NotifyMessage(id, "STRING_MSG", None, "all", False, 1))


@asynccontextmanager
async def service(url: str, name: str) -> AsyncIterator[Service]:
    clock = FakeClock()
    async with running_node(url, name) as cluster:
        mailbox = RedisMailbox(cluster.client, limits=MailboxLimits(), clock=clock, node=name)
        async with running(mailbox.run):
            yield Service(cluster, Node(clock=clock, mailbox=mailbox, relay=cluster.relay))


@asynccontextmanager
async def two_services() -> AsyncIterator[tuple[Service, Service, Proxy]]:
    with fresh_database() as url:
        async with (
            running_proxy(valkey().port) as proxy,
            service(url, "n1") as near,
            service(f"redis://127.0.0.1:{proxy.port}", "n2") as far,
        ):
            for one in (near, far):
                await one.cluster.members.poll()
            yield near, far, proxy


async def test_on_a_node_that_was_cut_off_a_broadcast_waits_for_what_was_pushed_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "SLICE", 1)
    monkeypatch.setattr(streams, "PAUSE_S", 0.1)
    users = [f"u{number}" for number in range(8)]
    async with two_services() as (near, far, proxy):
        devices = [await far.listening(user) for user in users]
        received: Sequence[list[str]] = [[] for _ in users]
        for device, ids in zip(devices, received, strict=True):
            device.transport.on_send = partial(_take, device, ids)
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not far.cluster.client.is_up)
        for user in users:
            await near.node.push(f"{user}-m1", to=user)
        await proxy.allow()
        await eventually(lambda: any(received))
        await near.broadcast("b")
        assert not all(received), "not all have caught up"
        for user in users:
            await near.node.push(f"{user}-m2", to=user)
        await far.broadcast("own")
        await eventually(lambda: all(len(ids) == 4 for ids in received))
        for user, ids in zip(users, received, strict=True):
            assert ids == [f"{user}-m1", "b", f"{user}-m2", "own"]


async def _begin(device: Device) -> None:
    device.listen()
    if (reading := device.node.delivery.replay(device.session)) is not None:
        await reading


def _take(device: Device, ids: list[str]) -> None:
    ids.extend(got(device))
