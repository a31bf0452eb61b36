"""Broadcasts: published once per id, and reporting the nodes that could not receive them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from app.cluster.keys import EVERYBODY, NODES, broadcast_mark_key, topic_channel
from app.cluster.node import ClusterNode
from app.cluster.relay import broadcaster as broadcaster_module
from app.cluster.relay.broadcaster import Broadcaster
from app.errors import Unavailable
from app.hub.publication import Publication, Published
from app.messages.destinations import USER_MESSAGES
from tests.eventually import eventually
from tests.nodes import running_node
from tests.proxy import Proxy, running_proxy
from tests.valkey import Valkey, calls, fresh_database, running_valkey, valkey
from tests.valkey_cluster import running_cluster

FOR_EVER = 9_999_999_999_999
DESTINATIONS = (USER_MESSAGES, "/topic/news", "/topic/{a}", "/topic/a}b", "/topic/{}", "/topic/}{", "/topic/{a")


def news(id: str = "m1", destination: str = USER_MESSAGES) -> Publication:
    return Publication(message_id=id, destination=destination, body=b"news")


def unplaced(published: Published) -> Published:
    return published._replace(seq=0)


class Ear:
    """Records what the sessions of one node receive."""

    def __init__(self, node: ClusterNode) -> None:
        self.heard: list[str] = []
        self.seqs: list[int] = []
        port: Any = self
        node.relay.listen(port)

    async def receive_publication(self, publication: Publication) -> None:
        self.heard.append(publication.message_id)
        self.seqs.append(publication.seq)


class Remote:
    """A node, its network to Redis, and what it receives."""

    def __init__(self, proxy: Proxy, node: ClusterNode) -> None:
        self.proxy = proxy
        self.node = node
        self.ear = Ear(node)

    async def lose_redis(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()
        await eventually(lambda: not self.node.client.is_up)

    async def return_to_redis(self) -> None:
        await self.proxy.allow()
        await eventually(lambda: self.node.client.is_up)


@asynccontextmanager
async def remotes(port: int, *names: str) -> AsyncIterator[Sequence[Remote]]:
    async with AsyncExitStack() as stack:
        nodes = []
        for name in names:
            proxy = await stack.enter_async_context(running_proxy(port))
            node = await stack.enter_async_context(running_node(f"redis://127.0.0.1:{proxy.port}", name))
            nodes.append(Remote(proxy, node))
        await see_each_other(*(remote.node for remote in nodes))
        yield nodes


async def see_each_other(*nodes: ClusterNode) -> None:
    for node in nodes:
        await node.members.poll()
    assert {len(node.members.others) for node in nodes} == {len(nodes) - 1}


@asynccontextmanager
async def three_nodes() -> AsyncIterator[Sequence[Remote]]:
    with fresh_database():
        async with remotes(valkey().port, "n1", "n2", "n3") as nodes:
            yield nodes


@asynccontextmanager
async def two_nodes() -> AsyncIterator[Sequence[Remote]]:
    with fresh_database():
        async with remotes(valkey().port, "n1", "n2") as nodes:
            yield nodes


async def test_while_all_hear_a_broadcast_is_one_command() -> None:
    async with three_nodes() as (a, b, c):
        await a.node.relay.broadcast(news("m0"))  # the server gets the script
        before = calls("publish"), calls("pubsub|numsub"), calls("evalsha")
        assert unplaced(await a.node.relay.broadcast(news())) == Published()
        assert (calls("publish"), calls("pubsub|numsub"), calls("evalsha")) == (before[0] + 1, before[1], before[2] + 1)
        await eventually(lambda: [b.ear.heard, c.ear.heard] == [["m0", "m1"], ["m0", "m1"]])


@pytest.mark.parametrize("destination", [USER_MESSAGES, "/topic/news"])
async def test_a_node_that_lost_redis_is_named(destination: str) -> None:
    async with three_nodes() as (a, b, c):
        await watch(b, destination)
        await watch(c, destination)
        await b.lose_redis()
        assert unplaced(await a.node.relay.broadcast(news("m1", destination))) == Published(["n2"])
        assert unplaced(await a.node.relay.broadcast(news("m2", destination), once=1)) == Published(["n2"])
        await eventually(lambda: c.ear.heard == ["m1", "m2"])
        await b.return_to_redis()
        assert unplaced(await a.node.relay.broadcast(news("m3", destination))) == Published()
        await eventually(lambda: (b.ear.heard, c.ear.heard) == (["m3"], ["m1", "m2", "m3"]))


@pytest.mark.parametrize("destination", [USER_MESSAGES, "/topic/news"])
async def test_if_no_other_node_hears_a_broadcast_is_refused_and_comes_again(destination: str) -> None:
    async with two_nodes() as (a, b):
        await watch(b, destination)
        await b.lose_redis()
        for once in (None, 1, 1):
            with pytest.raises(Unavailable) as refused:
                await a.node.relay.broadcast(news("m1", destination), once=once)
            assert refused.value.retry_after_s
        await b.return_to_redis()
        assert unplaced(await a.node.relay.broadcast(news("m1", destination), once=1)) == Published()
        assert (await b.node.relay.broadcast(news("m1", destination), once=1)).is_repeat
        await eventually(lambda: b.ear.heard == ["m1"])


@pytest.mark.parametrize("destination", [USER_MESSAGES, "/topic/news"])
async def test_a_node_that_does_not_come_back_is_not_waited_for(
    destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster_module, "RETURN_S", 0.05)
    async with two_nodes() as (a, b):
        await b.lose_redis()
        with pytest.raises(Unavailable):
            await a.node.relay.broadcast(news("m1", destination), once=1)
        await asyncio.sleep(0.06)
        assert unplaced(await a.node.relay.broadcast(news("m1", destination), once=1)) == Published(["n2"])
        await b.return_to_redis()
        repeated = await b.node.relay.broadcast(news("m1", destination), once=1)
        assert repeated == Published(["n2"], is_repeat=True), "as the first answer said"
        assert unplaced(await a.node.relay.broadcast(news("m2", destination))) == Published()
        await b.lose_redis()
        with pytest.raises(Unavailable):  # it was connected meanwhile
            await a.node.relay.broadcast(news("m3", destination))
        await asyncio.sleep(0.06)
        assert unplaced(await a.node.relay.broadcast(news("m3", destination))) == Published(["n2"])


async def test_a_node_that_died_is_named_until_it_leaves_the_list() -> None:
    async with two_nodes() as (a, b):
        valkey().command("ZADD", NODES, FOR_EVER, "dead")
        await a.node.members.poll()
        assert unplaced(await a.node.relay.broadcast(news("m1"))) == Published(["dead"])
        valkey().command("ZREM", NODES, "dead")
        await a.node.members.poll()
        assert unplaced(await a.node.relay.broadcast(news("m2"))) == Published()
        await eventually(lambda: b.ear.heard == ["m1", "m2"])


async def test_a_node_that_left_in_order_is_not_missed() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one:
            async with running_node(url, "n2") as two:
                await see_each_other(one, two)
            await eventually(lambda: not one.members.others)
            assert not (await one.relay.broadcast(news("m1"))).unreached


@pytest.mark.parametrize("forgets", [False, True], ids=["a moment", "longer than a life"])
async def test_right_after_a_restart_of_redis_no_broadcast_is_lost_silently(forgets: bool) -> None:
    with running_valkey(appendfsync="always") as redis:
        async with remotes(redis.port, "n1", "n2", "n3") as (a, b, c):
            for remote in (a, b, c):
                remote.proxy.refuse()
            await restart(redis)
            if forgets:
                await asyncio.to_thread(redis.command, "DEL", NODES)
            await a.return_to_redis()
            await a.node.members.poll()
            with pytest.raises(Unavailable):
                await a.node.relay.broadcast(news("m1"))
            with pytest.raises(Unavailable):
                await a.node.relay.broadcast(news("m1", "/topic/news"), once=1)
            await c.return_to_redis()
            assert unplaced(await a.node.relay.broadcast(news("m2"))) == Published(["n2"])
            await b.return_to_redis()
            assert unplaced(await a.node.relay.broadcast(news("m3"))) == Published()
            await eventually(lambda: (b.ear.heard, c.ear.heard) == (["m3"], ["m2", "m3"]))


async def restart(redis: Valkey) -> None:
    await asyncio.to_thread(redis.kill)
    await asyncio.to_thread(redis.start)


async def test_a_node_whose_answer_was_lost_publishes_for_its_own_sessions_only() -> None:
    async with two_nodes() as (a, b):
        valkey().command("SET", broadcast_mark_key(EVERYBODY, "m1"), "1 n1", "PX", 60_000)
        assert unplaced(await a.node.relay.broadcast(news("m1"), once=1)) == Published()
        await a.node.relay.broadcast(news("m2"))
        await eventually(lambda: b.ear.heard == ["m2"])


@pytest.mark.parametrize("destination", [USER_MESSAGES, "/topic/news"])
async def test_a_node_that_published_and_may_not_have_heard_the_answer_is_named(destination: str) -> None:
    channel = EVERYBODY if destination == USER_MESSAGES else topic_channel(destination)
    async with two_nodes() as (a, _):
        for node, unreached in (("n2", ["n2"]), ("gone", ())):
            valkey().command("SET", broadcast_mark_key(channel, f"by-{node}"), f"1 {node}", "PX", 60_000)
            repeated = await a.node.relay.broadcast(news(f"by-{node}", destination), once=1)
            assert repeated == Published(unreached, is_repeat=True)


async def test_a_node_that_published_and_answered_does_not_publish_again() -> None:
    async with two_nodes() as (a, b):
        for is_repeat in (False, True):
            assert (await a.node.relay.broadcast(news("m1"), once=1)).is_repeat is is_repeat
        await eventually(lambda: b.ear.heard == ["m1"])


@pytest.mark.parametrize("once", [None, 1])
async def test_a_broadcast_has_the_time_of_redis_on_all_nodes(once: int | None) -> None:
    async with two_nodes() as (a, b):
        times = [int(time.time() * 1_000_000)]
        for id in ("m1", "m2"):
            times.append((await a.node.relay.broadcast(news(id), once=once)).seq)
        times.append(int(time.time() * 1_000_000))
        assert times == sorted(times)
        await eventually(lambda: b.ear.seqs == times[1:3])
        assert b.ear.heard == ["m1", "m2"]


class ForgetfulMembers:
    """Members that all answer although they did not listen a moment ago, or Redis away if `is_away`."""

    def __init__(self, *nodes: str) -> None:
        self.expected = nodes
        self.is_away = False

    async def poll(self) -> Sequence[str]:
        if self.is_away:
            raise Unavailable("away")
        return self.expected

    async def answering(self, nodes: Sequence[str]) -> Sequence[str]:
        return nodes


async def test_all_members_are_named_if_the_unreached_ones_are_unknown() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2"):
            members: Any = ForgetfulMembers("n2", "n3")
            broadcaster = Broadcaster(one.client, members, node="n1")
            for members.is_away in (False, True):
                assert unplaced(await broadcaster.broadcast(EVERYBODY, b"x", None)) == Published(("n2", "n3"))
        async with running_node(url, "n1") as one:
            broadcaster = Broadcaster(one.client, members, node="n1")
            for members.is_away in (False, True):
                with pytest.raises(Unavailable):
                    await broadcaster.broadcast(EVERYBODY, b"x", None)


async def test_a_single_node_broadcasts_without_error() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one:
            assert unplaced(await one.relay.broadcast(news("m1"))) == Published()
            for number, destination in enumerate(DESTINATIONS):
                for is_repeat in (False, True):
                    published = await one.relay.broadcast(news(f"once-{number}", destination), once=1)
                    assert unplaced(published) == Published(is_repeat=is_repeat)
            key = broadcast_mark_key(EVERYBODY, "once-0")
            assert 0 < int(str(valkey().command("PTTL", key))) <= broadcaster_module.MARK_TTL_MS


async def test_in_a_cluster_of_redis_the_mark_lies_with_its_channel() -> None:
    with running_cluster(primaries=3) as cluster:
        async with running_node(cluster.url, "n1") as one, running_node(cluster.url, "n2") as two:
            await see_each_other(one, two)
            ear = Ear(two)
            for number, destination in enumerate(DESTINATIONS):
                if destination.startswith("/topic/") and (watching := two.relay.watch_topic(destination)):
                    await watching
                publication = news(f"m{number}", destination)
                assert unplaced(await one.relay.broadcast(publication, once=1)) == Published()
                assert (await two.relay.broadcast(publication, once=1)).is_repeat
            await eventually(lambda: sorted(ear.heard) == [f"m{number}" for number in range(len(DESTINATIONS))])
            seq = (await one.relay.broadcast(news("end"))).seq
            await eventually(lambda: ear.heard[-1] == "end")
            assert ear.seqs[-1] == seq > 0


async def watch(remote: Remote, destination: str) -> None:
    if destination.startswith("/topic/") and (watching := remote.node.relay.watch_topic(destination)):
        await watching
