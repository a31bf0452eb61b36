"""Nodes die, hang and end in order amid their work: what was accepted arrives, and nothing of them stays."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

import httpx
import pytest

from tests.client import StompClient, listening, stomp_client
from tests.databases import migrated_database
from tests.e2e.accounts import Accounts, listeners, publishing
from tests.e2e.backend import Backend, eventually
from tests.e2e.faults import sleeping
from tests.e2e.trio import QUICK, ask, keys, ledger, living, open_backends, running_nodes
from tests.service import Server
from tests.valkey import Valkey, running_valkey

NODE_LIFE_S = int(QUICK["NODE_TTL_MS"]) / 1000
LIVES_S = 3 * NODE_LIFE_S
RECOVERY = {"RECOVERY_GRACE_MS": "1000", "RECOVERY_INTERVAL_MS": "300"}
ALL = {"n1", "n2", "n3"}


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="module")
def servers(redis: Valkey) -> Iterator[Sequence[Server]]:
    with migrated_database("postgresql") as url, running_nodes(redis.url, DATABASE_URL=url, **RECOVERY) as servers:
        yield servers


@pytest.fixture
async def nodes(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    """All of them, also where the test before has ended some."""
    for server in servers:
        if server.process.poll() is not None:
            await start(server)
    async with open_backends(servers) as backends:
        yield backends


async def start(server: Server) -> None:
    server.start()
    await asyncio.to_thread(server.wait_until_ready)


async def kill(server: Server) -> None:
    assert await asyncio.to_thread(server.stop, signal.SIGKILL) == -signal.SIGKILL


async def end(server: Server) -> float:
    """In order; how long it took."""
    begin_s = asyncio.get_running_loop().time()
    status = await asyncio.to_thread(server.stop)
    assert status in (0, -signal.SIGTERM)
    return asyncio.get_running_loop().time() - begin_s


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """The process stands still, and its connections stay open."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def ids_of(redis: Valkey, node: str) -> set[str]:
    """Messages of which the ledger has a record of the node."""
    records = await ledger(redis)
    return {field.partition("::")[0] for field, value in records.items() if f'"node":"{node}-' in value}


async def receive_one(client: StompClient) -> tuple[str, bool]:
    """The id, and whether it is marked as sent before."""
    frame = await client.expect("MESSAGE")
    return frame.headers["message-id"], frame.headers.get("redelivered") == "true"


async def receive(client: StompClient, count: int) -> list[tuple[str, bool]]:
    return [await receive_one(client) for _ in range(count)]


async def receive_new(client: StompClient, count: int) -> list[str]:
    """Return the ids of messages that were not sent before: where the machine is slow, resends come between them."""
    ids: list[str] = []
    while len(ids) < count:
        message_id, is_resend = await receive_one(client)
        if not is_resend:
            ids.append(message_id)
    return ids


async def test_messages_of_a_killed_node_reach_their_user_on_another_one(
    nodes: Sequence[Backend], redis: Valkey
) -> None:
    a, b, _ = nodes
    async with listening(a.server.websocket_url, "test-moves") as client:
        ids = [await (a, b)[number % 2].push("test-moves", str(number)) for number in range(20)]
        assert await receive_new(client, 20) == ids
        await client.ack(ids[0])
        await eventually(lambda: ids_of(redis, "n1"), lambda now: now == set(ids[1:]))

        await kill(a.server)
        ids.append(await b.push("test-moves", "while he is nowhere"))

    async with listening(b.server.websocket_url, "test-moves") as client:
        came = await receive(client, 20)
        assert came == [(one, True) for one in ids[1:20]] + [(ids[20], False)]
        for one in ids:
            await client.ack(one)
        await eventually(lambda: ids_of(redis, "n1"), lambda now: not now, LIVES_S)
        await eventually(lambda: living(redis), lambda now: now == ALL - {"n1"}, LIVES_S)
        await eventually(lambda: ids_of(redis, "n2"), lambda now: not now)
        assert await keys(redis, "stomp::inbox::*") == []


async def try_to_join(url: str) -> int:
    """The close code of the refusal, 0 for none."""
    async with stomp_client(url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "test-ten"})
        return 0 if (await client.receive()).command == "CONNECTED" else (await client.closed())[0]


async def test_sessions_of_a_killed_node_keep_nobody_out(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, _ = nodes
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(listening(a.server.websocket_url, "test-ten"))
        assert await try_to_join(b.server.websocket_url) == 4504

        await kill(a.server)

        assert await try_to_join(b.server.websocket_url) == 0, "at the first attempt"
    await eventually(lambda: keys(redis, "stomp::sessions::*"), lambda left: not left)


async def test_nothing_that_was_accepted_is_lost_when_nodes_are_killed(nodes: Sequence[Backend], redis: Valkey) -> None:
    servers = [node.server for node in nodes]
    accounts = Accounts([f"test-kills-{number}" for number in range(30)], persisted=0.2)
    async with listeners(servers, accounts):
        async with publishing(nodes, accounts):
            for victim in servers[:2]:
                await asyncio.sleep(0.5)
                await kill(victim)
                await start(victim)
            await eventually(accounts.accepted_so_far, lambda count: count >= 1_000, 15)
        await accounts.settle()
        await eventually(lambda: ledger(redis), lambda now: not now, LIVES_S)
        await eventually(lambda: keys(redis, "stomp::inbox::*"), lambda left: not left)
    assert accounts.unknown, "no node died over a push"
    assert accounts.connections > len(accounts.users) + 20, "too few reconnects to prove anything"
    assert accounts.duplicates < accounts.total / 2
    assert accounts.unmarked_duplicates == []


async def test_node_that_hung_longer_than_its_life_is_counted_in_again(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, _ = nodes
    async with listening(a.server.websocket_url, "test-hung") as client:
        first = await b.push("test-hung", "before")
        assert (await receive(client, 1))[0][0] == first
        await eventually(lambda: ids_of(redis, "n1"), lambda now: now == {first})
        with hanging(a.server):
            await eventually(lambda: ids_of(redis, "n1"), lambda now: not now, LIVES_S)
            await eventually(lambda: living(redis), lambda now: now == ALL - {"n1"}, LIVES_S)
            second = await b.push("test-hung", "meanwhile")

        assert {one for one, _ in await receive(client, 2)} == {first, second}
        await eventually(lambda: ids_of(redis, "n1"), lambda now: now == {first, second})
        await eventually(lambda: living(redis), lambda now: now == ALL)
        assert len(await b.has_sessions("test-hung", 1)) == 1
        assert len(await keys(redis, "stomp::sessions::{test-hung}")) == 1
        for one in (first, second):
            await client.ack(one)
        await eventually(lambda: ledger(redis), lambda now: not now)


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_node_that_ends_in_order_leaves_nothing_behind(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, _ = nodes
    async with (
        listening(a.server.websocket_url, "test-leaves") as client,
        sleeping(a.server, "test-sleeps"),  # for the end to take its time
    ):
        ids = [await b.push("test-leaves", str(number)) for number in range(50)]
        for _ in range(20):
            await b.push("test-sleeps", "x" * 20_000)
        assert await receive_new(client, 50) == ids
        assert await is_ready(a.http)
        ending = asyncio.create_task(end(a.server))
        for one in ids[:25]:
            await client.ack(one)
        assert (await client.closed())[0] == 1012
        assert not await is_ready(a.http)
        assert await ending < 15
    assert await ids_of(redis, "n1") == set()
    assert await keys(redis, "stomp::sessions::{test-leaves}") == []
    assert await living(redis) == ALL - {"n1"}
    async with listening(b.server.websocket_url, "test-leaves") as client:
        came = await receive(client, int(str(await ask(redis, "HLEN", "stomp::inbox::{test-leaves}"))))
        assert {one for one, _ in came} >= set(ids[25:])
        for one, _ in came:
            await client.ack(one)
        await eventually(lambda: ledger(redis), lambda now: not now)


async def test_node_ends_in_order_while_redis_hangs(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, _ = nodes
    async with listening(a.server.websocket_url, "test-hangs") as client:
        message_id = await b.push("test-hangs")
        assert (await receive(client, 1))[0][0] == message_id
        redis.freeze()
        try:
            await client.ack(message_id)
            ending = asyncio.create_task(end(a.server))
            assert (await client.closed())[0] == 1012
            assert await ending < 20
        finally:
            redis.thaw()
    await eventually(lambda: ledger(redis), lambda now: not now, LIVES_S)
    await eventually(lambda: living(redis), lambda now: now == ALL - {"n1"}, LIVES_S)
    async with listening(b.server.websocket_url, "test-hangs") as client:
        last = await b.push("test-hangs", "another")
        came = [await receive_one(client)]
        while came[-1][0] != last:
            came.append(await receive_one(client))
        assert came[:-1] in ([], [(message_id, True)]), "his ack may have come to nothing"
        for one, _ in came:
            await client.ack(one)
        await eventually(lambda: keys(redis, "stomp::inbox::{test-hangs}"), lambda left: not left)
    assert await asyncio.gather(*(is_ready(node.http) for node in nodes[1:])) == [True, True]
