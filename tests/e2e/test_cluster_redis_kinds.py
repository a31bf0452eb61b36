"""A Redis Cluster and Sentinels: a primary that dies, and slots that move, cost nothing that was accepted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from redis.crc import key_slot

from tests.client import StompClient, listening, stomp_client
from tests.e2e.accounts import Accounts, listeners, publishing
from tests.e2e.backend import Backend, eventually
from tests.e2e.faults import cut
from tests.e2e.trio import NODES, PENDING, QUICK, open_backends, running_nodes
from tests.service import Server
from tests.valkey import Valkey
from tests.valkey_cluster import ClusterNode, SentinelSetup, ValkeyCluster, running_cluster, running_sentinels

PARTITIONS = 8
TIMEOUT_S = int(QUICK["REDIS_TIMEOUT_MS"]) / 1000
NOISE_S = 2.0  # what three tests at once on two cores add to it
QUIET = {"LOG_ACK_EVENTS": "false", "REDIS_WAIT_REPLICAS": "1"}
USERS = [f"test-kind-{number}" for number in range(30)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    with running_cluster(primaries=3, replicas=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_servers(cluster: ValkeyCluster) -> Iterator[Sequence[Server]]:
    with running_nodes(cluster.url, **QUIET, ACK_REDIS_PARTITIONS=str(PARTITIONS)) as servers:
        yield servers


@pytest.fixture
async def cluster_nodes(cluster_servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(cluster_servers) as backends:
        yield backends


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelSetup]:
    with running_sentinels() as setup:
        yield setup


@pytest.fixture(scope="module")
def sentinel_servers(sentinels: SentinelSetup) -> Iterator[Sequence[Server]]:
    with running_nodes(sentinels.url, **QUIET) as servers:
        yield servers


@pytest.fixture
async def sentinel_nodes(sentinel_servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(sentinel_servers) as backends:
        yield backends


async def readiness(nodes: Sequence[Backend]) -> set[str]:
    answers = await asyncio.gather(*(node.http.get("/readyz") for node in nodes))
    return {answer.json()["status"] for answer in answers}


def left(primaries: Sequence[Valkey]) -> set[str]:
    """Of inboxes and ledgers."""
    found: set[str] = set()
    for primary in primaries:
        for pattern in ("stomp::inbox::*", f"{PENDING}*"):
            found.update(primary.command("KEYS", pattern))
    return found


@asynccontextmanager
async def accounted(nodes: Sequence[Backend], accounts: Accounts) -> AsyncIterator[None]:
    """Pushes and reads during the block; after it, what was accepted arrives."""
    await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
    async with listeners([node.server for node in nodes], accounts):
        async with publishing(nodes, accounts):
            await asyncio.sleep(0.5)
            yield
            await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
            await asyncio.sleep(0.5)
        await accounts.settle()
    assert accounts.total > 100
    assert accounts.slowest_s < TIMEOUT_S + NOISE_S
    assert accounts.unknown == 0
    assert accounts.closes == {}, "sessions stay"
    assert accounts.unmarked_duplicates == []


# Found by this: the sessions of a node that refused a push never hear of it though the inbox has it, so nobody
# acknowledges it; and removals from inboxes and ledger that a failover has lost are not made again.
async def nothing_left(primaries: Sequence[Valkey]) -> None:
    await eventually(lambda: asyncio.to_thread(left, primaries), lambda found: not found, 6)


# Redis Cluster


async def test_nodes_tell_and_ask_one_another_about_sessions(cluster_nodes: Sequence[Backend]) -> None:
    a, b, _ = cluster_nodes
    async with AsyncExitStack() as stack:
        for user in USERS[:5]:
            older = await stack.enter_async_context(stomp_client(a.server.websocket_url))
            await older.connect(user, **{"client-id": "phone"})
            newer = await stack.enter_async_context(stomp_client(b.server.websocket_url))
            await newer.connect(user, **{"client-id": "phone"})
            assert (await older.closed())[0] == 4505
        for _ in range(9):
            client = await stack.enter_async_context(stomp_client(a.server.websocket_url))
            await client.connect(USERS[0])
        refused = await stack.enter_async_context(stomp_client(b.server.websocket_url))
        await refused.send("CONNECT", {"accept-version": "1.2", "Authorization": USERS[0]})
        assert (await refused.closed())[0] == 4504, "all have answered that they are alive"


def move_slot(key: str, cluster: ValkeyCluster, *, slowly_s: float = 0.0) -> None:
    """To the next primary, as redis-cli does it: key by key, between two states in which both have some."""
    slot = key_slot(key.encode())
    source = cluster.owner_of(key)
    primaries = [node for node in cluster.nodes if node.is_running and node.is_primary()]
    target = next(node for node in primaries if node is not source)
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", str(source.command("CLUSTER", "MYID")))
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", str(target.command("CLUSTER", "MYID")))
    _move_keys(slot, source, target, slowly_s)
    for node in (target, source, *primaries):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", str(target.command("CLUSTER", "MYID")))


def _move_keys(slot: int, source: ClusterNode, target: ClusterNode, slowly_s: float) -> None:
    deadline = time.monotonic() + slowly_s
    while (found := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100)) or time.monotonic() < deadline:
        if found:
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 1000, "KEYS", *found)
        time.sleep(0.005)


async def test_slots_that_move_in_a_redis_cluster_lose_nothing(
    cluster: ValkeyCluster, cluster_nodes: Sequence[Backend]
) -> None:
    accounts = Accounts(USERS)
    async with accounted(cluster_nodes, accounts):
        keys = [f"stomp::inbox::{{{user}}}" for user in USERS[:4]]
        for key in (*keys, f"{PENDING}::{{0}}", NODES, "stomp::ws_notify_topic"):
            await asyncio.to_thread(move_slot, key, cluster, slowly_s=0.1)
    await nothing_left([node for node in cluster.nodes if node.is_primary()])


async def test_a_dead_primary_of_a_redis_cluster_loses_nothing(
    cluster: ValkeyCluster, cluster_nodes: Sequence[Backend]
) -> None:
    victim = cluster.owner_of(f"stomp::inbox::{{{USERS[5]}}}")
    accounts = Accounts(USERS)
    async with accounted(cluster_nodes, accounts):
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(cluster.wait_until_ok)
        await asyncio.to_thread(victim.start)  # as a replica, without which pushes would be refused
        await asyncio.to_thread(cluster.wait_until_ok)
    assert accounts.refused
    await nothing_left([node for node in cluster.nodes if node.is_primary()])


async def test_nodes_over_a_redis_cluster_find_each_other(cluster_nodes: Sequence[Backend]) -> None:
    a, b, c = cluster_nodes
    async with (
        listening(a.server.websocket_url, "test-found") as first,
        listening(b.server.websocket_url, "test-found") as second,
    ):
        assert len(await c.sessions("test-found")) == 2
        sent = [(await c.broadcast("news"))["id"], await b.push("test-found")]
        for client in (first, second):
            assert [(await client.expect("MESSAGE")).headers["message-id"] for _ in sent] == sent
            await client.ack(sent[1])
        assert (await c.status(sent[1]))["unanswered"] == []


# Sentinel


def standby(sentinels: SentinelSetup) -> Valkey:
    """The one that is a replica now."""
    is_first = sentinels.current_primary_port() == sentinels.primary.port
    return sentinels.replica if is_first else sentinels.primary


async def test_a_failover_by_sentinels_loses_nothing(
    sentinels: SentinelSetup, sentinel_nodes: Sequence[Backend]
) -> None:
    accounts = Accounts(USERS)
    async with accounted(sentinel_nodes, accounts):
        await asyncio.to_thread(sentinels.primary.kill)
        await asyncio.to_thread(sentinels.wait_until_primary, sentinels.replica)
        await asyncio.to_thread(sentinels.primary.start)  # as a replica, without which pushes are refused
        await asyncio.to_thread(sentinels.wait_until_whole)
    assert accounts.refused
    await nothing_left([sentinels.replica])


async def test_a_primary_that_hangs_until_another_has_taken_over_loses_nothing(
    sentinels: SentinelSetup, sentinel_nodes: Sequence[Backend]
) -> None:
    successor = standby(sentinels)
    predecessor = sentinels.primary if successor is sentinels.replica else sentinels.replica
    accounts = Accounts(USERS)
    async with accounted(sentinel_nodes, accounts):
        predecessor.freeze()
        try:
            await asyncio.to_thread(sentinels.wait_until_primary, successor)
        finally:
            predecessor.thaw()  # it takes itself for the primary, until it is told
        await asyncio.to_thread(sentinels.wait_until_whole)
    assert accounts.refused
    await nothing_left([successor])


async def timed(answering: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    begin_s = time.monotonic()
    return await answering, time.monotonic() - begin_s


async def receive_all(client: StompClient, wanted: set[str]) -> None:
    came: set[str] = set()
    while came != wanted:
        frame = await client.expect("MESSAGE", timeout_s=3)
        came.add(frame.headers["message-id"])
        await client.ack(frame.headers["message-id"])


# Found by this test: of a push that was refused because too few replicas have it the inbox has the message, and the
# sessions of the node that refused it have not; once another node has accepted the retry, nobody sends it to them.
async def test_a_replica_that_hangs_has_pushes_refused_in_time_and_their_retries_reach_everybody(
    sentinels: SentinelSetup, sentinel_nodes: Sequence[Backend]
) -> None:
    a, b, c = sentinel_nodes
    await eventually(lambda: readiness(sentinel_nodes), lambda now: now == {"ready"})
    async with (
        listening(a.server.websocket_url, "test-safe") as first,
        listening(b.server.websocket_url, "test-safe") as second,
    ):
        messages = [
            {"receiver": "test-safe", "type": "STRING_MSG", "data": str(number), "id": f"safe-{number}"}
            for number in range(100)
        ]
        replica = standby(sentinels)
        replica.freeze()
        try:
            async with asyncio.TaskGroup() as group:
                pushing = []
                for message in messages:
                    pushing.append(group.create_task(timed(a.post("/push_msg", json=message))))
                    await asyncio.sleep(0.01)
            answers = [task.result() for task in pushing]
            assert {answer.status_code for answer, _ in answers} == {503}
            assert all(answer.headers["Retry-After"].isdigit() for answer, _ in answers)
            assert max(seconds for _, seconds in answers) < TIMEOUT_S + NOISE_S
        finally:
            replica.thaw()
        await asyncio.to_thread(sentinels.wait_until_whole)
        for message in messages:
            assert (await c.post("/push_msg", json=message)).status_code == 200
        wanted = {message["id"] for message in messages}
        try:
            await asyncio.gather(*(receive_all(client, wanted) for client in (first, second)))
        finally:  # a closing handshake would wait behind what was sent again
            for client in (first, second):
                cut(client)
