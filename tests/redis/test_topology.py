"""The servers of keys, with a real cluster and with scripted servers."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from app.cluster.keys import EVERYBODY, user_channel
from app.cluster.mailbox.redis import RedisMailbox
from app.delivery.mailbox import Fate, Kind, MailboxLimits, Missed
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.redis.address import parse_redis_url
from app.redis.client import RedisClient
from app.redis.topology import ClusterTopology, SingleTopology
from app.timing.clock import SystemClock
from tests.eventually import eventually
from tests.nodes import running
from tests.redis.scripted import ScriptedServer, scripted_server
from tests.valkey import reserve_port
from tests.valkey_cluster import ValkeyCluster, running_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Yield a cluster of one node, which enforces slots too."""
    with running_cluster(1) as cluster:
        yield cluster


def dead_port() -> int:
    with reserve_port() as reservation:
        port: int = reservation.getsockname()[1]
    return port


def envelope(id: str, user: str) -> Envelope:
    now_ms = time.time_ns() // 1_000_000
    message = NotifyMessage(id=id, type="STRING_MSG", receiver=user, data="x", viewed=False, created=now_ms)
    return Envelope(message, MessageEncoder(message), now_ms + 60_000)


def slots_answer(*ranges: tuple[int, int, bytes, int]) -> bytes:
    lines = [b"*%d\r\n" % len(ranges)]
    for first, last, host, port in ranges:
        name = b"$%d\r\n%b\r\n" % (len(host), host) if host else b"_\r\n"
        lines.append(b"*3\r\n:%d\r\n:%d\r\n*2\r\n%b:%d\r\n" % (first, last, name, port))
    return b"".join(lines)


def cluster_topology(*ports: int, timeout_s: float = 3.0) -> ClusterTopology:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return ClusterTopology(parse_redis_url(f"redis+cluster://{hosts}"), timeout_s)


# One server


async def test_a_single_server_has_all_keys_once_discovered() -> None:
    topology = SingleTopology(parse_redis_url("redis://h:7"), 3.0)
    with pytest.raises(Unavailable):
        topology.host_of("k")
    await topology.discover(())
    assert (topology.hosts, topology.host_of("k")) == ((("h", 7),), ("h", 7))


# Sentinels


def sentinel_topology(*ports: int, timeout_s: float = 3.0) -> SingleTopology:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return SingleTopology(parse_redis_url(f"redis+sentinel://{hosts}/svc?sentinel_password=sEcret"), timeout_s)


def sentinel_says(scripted: ScriptedServer, port: bytes) -> None:
    scripted.answers[b"SENTINEL"] = b"*2\r\n$8\r\n10.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port)


async def test_a_sentinel_names_the_primary(scripted: ScriptedServer) -> None:
    sentinel_says(scripted, b"7000")
    topology = sentinel_topology(scripted.port)
    await topology.discover(())
    assert topology.host_of("k") == ("10.0.0.1", 7_000)
    await eventually(lambda: scripted.connections == 0)


async def test_a_sentinel_that_is_gone_is_passed_over_at_once(scripted: ScriptedServer) -> None:
    """It has probably failed together with the primary."""
    sentinel_says(scripted, b"7000")
    topology = sentinel_topology(dead_port(), scripted.port)
    started_s = time.monotonic()
    await topology.discover(())
    assert topology.host_of("k") == ("10.0.0.1", 7_000)
    assert time.monotonic() - started_s < 0.5


async def test_silent_sentinels_are_unavailable_and_the_error_hides_the_password(
    scripted: ScriptedServer,
) -> None:
    scripted.answers.update(dict.fromkeys((b"HELLO", b"AUTH", b"SENTINEL", b"CLIENT")))
    with pytest.raises(Unavailable, match="Sentinel knows no primary") as caught:
        await sentinel_topology(scripted.port, timeout_s=0.05).discover(())
    assert "sEcret" not in str(caught.value)


async def test_a_sentinel_that_does_not_know_the_service_says_so(scripted: ScriptedServer) -> None:
    scripted.answers[b"SENTINEL"] = b"_\r\n"
    with pytest.raises(Unavailable, match="unknown service svc"):
        await sentinel_topology(scripted.port).discover(())


# A cluster


async def test_each_slot_has_the_server_that_the_cluster_names(scripted: ScriptedServer) -> None:
    scripted.answers[b"CLUSTER"] = slots_answer((0, 8_000, b"10.0.0.1", 1), (8_001, 16_383, b"10.0.0.2", 2))
    topology = cluster_topology(scripted.port)
    await topology.discover(())
    assert topology.hosts == (("10.0.0.1", 1), ("10.0.0.2", 2))
    for key in ("a", "b", "c", "user{7}", "{}x"):
        assert topology.host_of(key) == (("10.0.0.1", 1) if key_slot(key.encode()) <= 8_000 else ("10.0.0.2", 2))


async def test_a_server_without_a_name_is_the_one_that_was_asked(scripted: ScriptedServer) -> None:
    scripted.answers[b"CLUSTER"] = slots_answer((0, 16_383, b"", 9))
    topology = cluster_topology(scripted.port)
    await topology.discover(())
    assert topology.host_of("k") == ("127.0.0.1", 9)


async def test_a_slot_without_a_server_is_unavailable(scripted: ScriptedServer) -> None:
    scripted.answers[b"CLUSTER"] = slots_answer((0, 0, b"10.0.0.1", 1))
    topology = cluster_topology(scripted.port)
    await topology.discover(())
    with pytest.raises(Unavailable):
        topology.host_of("a")


async def test_the_next_host_is_asked_where_one_is_gone_or_silent_or_no_cluster(scripted: ScriptedServer) -> None:
    async with scripted_server() as silent, scripted_server() as alone:
        silent.answers[b"CLUSTER"] = None
        alone.answers[b"CLUSTER"] = b"-ERR This instance has cluster support disabled\r\n"
        scripted.answers[b"CLUSTER"] = slots_answer((0, 16_383, b"10.0.0.1", 1))
        topology = cluster_topology(dead_port(), silent.port, alone.port, scripted.port, timeout_s=0.1)
        async with asyncio.timeout(30):
            await topology.discover(())
        assert topology.host_of("k") == ("10.0.0.1", 1)
        await eventually(lambda: silent.connections == alone.connections == scripted.connections == 0)


async def test_a_cluster_without_a_reachable_server_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no server"):
        await cluster_topology(dead_port(), dead_port()).discover(())


# With a real cluster


async def test_channels_of_many_slots_are_subscribed_and_come_back_after_a_loss(cluster: ValkeyCluster) -> None:
    """A single command takes channels of one slot only."""
    (node,) = cluster.nodes
    client = RedisClient(parse_redis_url(cluster.url), name="test")
    heard: list[str] = []
    client.listen(lambda channel, payload: heard.append(channel))
    channels = [EVERYBODY, *(user_channel(f"u{n}") for n in range(20))]
    for channel in channels:
        client.subscriptions.subscribe(channel)
    async with running(client.run):
        await client.wait_until_up(5)
        assert [channel for channel in channels if channel not in client.subscriptions] == []
        node.command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: not client.is_up)
        await client.wait_until_up(5)
        assert [await client.publish(channel, b"x") for channel in channels] == [1] * len(channels)
        await eventually(lambda: heard == channels)


async def test_the_scripts_touch_keys_and_channels_of_one_slot_alone(cluster: ValkeyCluster) -> None:
    client = RedisClient(parse_redis_url(cluster.url), name="test")
    async with running(client.run):
        await client.wait_until_up(5)
        mailbox = RedisMailbox(client, limits=MailboxLimits(), clock=SystemClock(), node="n1")
        for user in ("ann", "}brace", "a}b", "{x}"):
            for kind in Kind:
                placed = await mailbox.put(envelope(kind.value, user), kind=kind, digest="1")
                assert (placed.known, placed.kept) == (None, True)
            mailbox.acknowledge(user, "new")
            await mailbox.flush()
            heads: list[int] = []
            waiting = await mailbox.read(user, time.time_ns() // 1_000_000, heads.append)
            assert [one.message.id for one in waiting] == ["given", "stored", "again"]
            missed: list[Missed] = []
            await mailbox.catch_up(user, 0, missed.append)
            assert [one.message.id for one in missed[0].envelopes] == ["new", "given", "stored", "again"]
            assert heads == [missed[0].head]
            assert await mailbox.fate(user, "new") is Fate.ACKNOWLEDGED


async def test_a_moved_slot_is_discovered_again(cluster: ValkeyCluster, scripted: ScriptedServer) -> None:
    """The first server has lost the slot, and redirects until the slots are discovered."""
    (node,) = cluster.nodes
    scripted.answers[b"CLUSTER"] = slots_answer((0, 16_383, b"127.0.0.1", scripted.port))
    client = RedisClient(parse_redis_url(f"redis+cluster://127.0.0.1:{scripted.port}"), name="test")
    async with running(client.run):
        await client.wait_until_up(5)
        scripted.answers[b"CLUSTER"] = slots_answer((0, 16_383, b"127.0.0.1", node.port))
        scripted.answers[b"ECHO"] = b"-MOVED 1 127.0.0.1:%d\r\n" % node.port
        assert await client.call("k", "ECHO", "moved") == b"moved"
        await eventually(lambda: scripted.connections == 0)
        assert client.is_up
