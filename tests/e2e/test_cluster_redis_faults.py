"""Redis dies, hangs and is cut off while messages are under way: pushes are refused meanwhile, and nothing is lost."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.client import StompClient, listening, stomp_client
from tests.databases import migrated_database
from tests.e2e.accounts import TRY_AGAIN, Accounts, listeners, publishing
from tests.e2e.backend import Backend, eventually, open_backend
from tests.e2e.trio import QUICK, keys, ledger, living, open_backends, open_nodes
from tests.proxy import Proxy, running_proxy
from tests.service import Server
from tests.valkey import Valkey, running_valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = int(QUICK["REDIS_TIMEOUT_MS"]) / 1000
AT_ONCE_S = 1.0  # sooner than any wait for Redis would end
NOISE_S = 2.0  # what three tests at once on two cores add to it
NODE_LIFE_S = int(QUICK["NODE_TTL_MS"]) / 1000
USERS = [f"test-fault-{number}" for number in range(30)]
SETTINGS = {"LOG_ACK_EVENTS": "false", "RECOVERY_GRACE_MS": "1000", "RECOVERY_INTERVAL_MS": "300"}
GROWTH_KB = 20_000  # of a node over all tests of this file

Accident = Callable[[], Awaitable[None]]


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey(appendfsync="always") as valkey:  # a crash between a write and its answer loses the write alone
        yield valkey


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(redis: Valkey) -> AsyncIterator[Proxy]:
    """What the nodes reach Redis through."""
    async with running_proxy(redis.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(wire: Proxy) -> AsyncIterator[Sequence[Server]]:
    with migrated_database("postgresql") as url:
        async with open_nodes(f"redis://127.0.0.1:{wire.port}", DATABASE_URL=url, **SETTINGS) as servers:
            before = [memory_kb(server) for server in servers]
            yield servers
            assert max(memory_kb(server) - kb for server, kb in zip(servers, before, strict=True)) < GROWTH_KB


@pytest_asyncio.fixture(loop_scope="module")
async def nodes(servers: Sequence[Server], redis: Valkey) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(servers) as backends:
        await eventually(lambda: readiness(backends), lambda now: now == {"ready"})
        yield backends


def memory_kb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


async def readiness(nodes: Sequence[Backend], within_s: float = NOISE_S) -> set[str]:
    """What the nodes say of themselves, or "late"."""
    try:
        async with asyncio.timeout(within_s):
            answers = await asyncio.gather(*(node.http.get("/readyz") for node in nodes))
    except TimeoutError:
        return {"late"}
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["status"] for answer in answers}


@asynccontextmanager
async def accounted(nodes: Sequence[Backend], redis: Valkey, accounts: Accounts) -> AsyncIterator[None]:
    """Pushes and reads during the block; after it, what was accepted arrives, and nothing of it stays in Redis."""
    async with listeners([node.server for node in nodes], accounts):
        async with publishing(nodes, accounts):
            await asyncio.sleep(0.3)
            yield
            await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
            await asyncio.sleep(0.3)  # and pushes are accepted again
        await accounts.settle()
        await eventually(lambda: ledger(redis), lambda now: not now, 3 * NODE_LIFE_S)
        await eventually(lambda: keys(redis, "stomp::inbox::*"), lambda left: not left)
        assert await living(redis) == {"n1", "n2", "n3"}
    assert accounts.slowest_s < TIMEOUT_S + NOISE_S
    assert accounts.unknown == 0
    assert accounts.closes == {}, "sessions stay"
    assert accounts.connections == len(USERS)
    assert accounts.unmarked_duplicates == []


async def test_redis_that_dies_and_comes_back_with_its_data_loses_nothing(
    nodes: Sequence[Backend], redis: Valkey
) -> None:
    accounts = Accounts(USERS, persisted=0.2)
    async with accounted(nodes, redis, accounts):
        for _ in range(2):
            await asyncio.to_thread(redis.kill)
            await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
            await asyncio.sleep(0.5)
            await asyncio.to_thread(redis.start)
            await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
            await asyncio.sleep(0.3)
    assert accounts.refused > 20


async def test_redis_that_hangs_longer_than_the_time_out_loses_nothing(nodes: Sequence[Backend], redis: Valkey) -> None:
    accounts = Accounts(USERS, persisted=0.2)
    async with accounted(nodes, redis, accounts):
        redis.freeze()
        try:
            await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
            await asyncio.sleep(0.5)
        finally:
            redis.thaw()
    assert accounts.refused > 20


async def test_redis_that_hangs_for_a_moment_loses_nothing(nodes: Sequence[Backend], redis: Valkey) -> None:
    accounts = Accounts(USERS, persisted=0.2)
    async with accounted(nodes, redis, accounts):
        for _ in range(3):
            redis.freeze()
            await asyncio.sleep(TIMEOUT_S / 3)
            redis.thaw()
            await asyncio.sleep(0.2)
    assert accounts.refused == 0, "nothing has to be refused for that"


async def test_connections_that_are_cut_again_and_again_lose_nothing(
    nodes: Sequence[Backend], redis: Valkey, wire: Proxy
) -> None:
    accounts = Accounts(USERS, persisted=0.2)
    async with accounted(nodes, redis, accounts):
        for _ in range(15):
            await asyncio.sleep(0.15)
            wire.cut()
    assert accounts.refused


async def test_a_network_that_stands_still_loses_nothing(nodes: Sequence[Backend], redis: Valkey, wire: Proxy) -> None:
    accounts = Accounts(USERS, persisted=0.2)
    async with accounted(nodes, redis, accounts):
        wire.stall()
        try:
            await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
            await asyncio.sleep(TIMEOUT_S)
        finally:
            wire.flow()
    assert accounts.refused > 20


async def next_id(client: StompClient) -> str:
    return (await client.expect("MESSAGE")).headers["message-id"]


async def ids_within(client: StompClient, seconds: float) -> set[str]:
    came: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                came.add(await next_id(client))
    return came


async def test_acknowledgements_count_while_redis_is_away(nodes: Sequence[Backend], redis: Valkey, wire: Proxy) -> None:
    a, b, _ = nodes
    async with listening(a.server.websocket_url, "test-acks") as client:
        ids = [await b.push("test-acks", str(number)) for number in range(50)]
        came: set[str] = set()
        while came != set(ids):
            came.add(await next_id(client))
        await eventually(lambda: ledger(redis), lambda now: len(now) == 50)
        wire.refuse()
        wire.cut()
        await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
        try:
            for one in ids[:40]:
                await client.ack(one)
            await ids_within(client, 0.3)  # sent again before that
            assert await ids_within(client, 1.1) == set(ids[40:]), "what was acknowledged is not sent again"
            assert len(await ledger(redis)) == 50, "Redis knows nothing of it"
            refused = await a.post("/push_all_obj/test-acks", content="hello")
            assert (refused.status_code, refused.headers["Retry-After"].isdigit()) == (503, True)
            for path in ("/push_all_obj", "/push_topic/news", "/cluster/notify/test-acks"):
                answer = await b.post(path, content="hello")
                assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True), path
        finally:
            await wire.allow()
        await eventually(lambda: ledger(redis), lambda now: {one.partition("::")[0] for one in now} == set(ids[40:]))
        for one in ids[40:]:
            await client.ack(one)
        await eventually(lambda: keys(redis, "stomp::inbox::*"), lambda left: not left)
        await ids_within(client, 0.1)  # what was sent again, or the closing handshake would wait behind it


async def test_who_connects_while_redis_is_away_is_told_to_try_again(nodes: Sequence[Backend], wire: Proxy) -> None:
    a, *_ = nodes
    wire.refuse()
    wire.cut()
    try:
        await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
        async with stomp_client(a.server.websocket_url) as client:
            await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "test-late"})
            assert (await client.expect("ERROR")).headers["message"] == "The service cannot do this now"
            assert (await client.closed())[0] == TRY_AGAIN
    finally:
        await wire.allow()

    async def comes() -> str:
        async with stomp_client(a.server.websocket_url) as client:
            await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "test-late"})
            return (await client.receive()).command

    await eventually(comes, lambda command: command == "CONNECTED")


async def test_what_is_sent_while_redis_is_away_is_told_and_never_said_to_be_a_bad_request(
    nodes: Sequence[Backend], wire: Proxy
) -> None:
    a, *_ = nodes
    async with AsyncExitStack() as stack:
        listening, topic, handler = [
            await stack.enter_async_context(stomp_client(a.server.websocket_url)) for _ in range(3)
        ]
        for number, client in enumerate((listening, topic, handler)):
            await client.connect(f"test-sends-{number}")
        await listening.subscribe("/user/queue/errors")
        wire.refuse()
        wire.cut()
        try:
            await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
            for destination in ("/topic/x", "/app/sendMessage"):
                await listening.send("SEND", {"destination": destination, "receipt": destination}, "lost")
                told = json.loads((await listening.expect("MESSAGE")).body)
                assert (told["code"], told["receipt"]) == (TRY_AGAIN, destination)
            for client, destination in ((topic, "/topic/x"), (handler, "/app/sendMessage")):
                await client.send("SEND", {"destination": destination, "receipt": "r"}, "lost")
                assert (await client.expect("ERROR")).headers["receipt-id"] == "r"
                assert (await client.closed())[0] == TRY_AGAIN
        finally:
            await wire.allow()
        await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
        await listening.send("SEND", {"destination": "/app/sendMessage", "receipt": "back"}, "sent")
        assert (await listening.expect("RECEIPT")).headers["receipt-id"] == "back"


async def test_subscription_that_is_made_while_redis_is_away_counts_once_it_is_back(
    nodes: Sequence[Backend], wire: Proxy
) -> None:
    a, b, _ = nodes
    async with stomp_client(a.server.websocket_url) as client:
        await client.connect("test-subscribes")
        wire.refuse()
        wire.cut()
        try:
            await eventually(lambda: readiness(nodes, AT_ONCE_S), lambda now: now == {"degraded"})
            for destination in ("/user/queue/msg", "/topic/news"):
                await client.send("SUBSCRIBE", {"id": destination, "destination": destination, "receipt": destination})
            await client.silent(AT_ONCE_S)  # the receipt says that the mailbox has been read
        finally:
            await wire.allow()
        for destination in ("/user/queue/msg", "/topic/news"):
            assert (await client.expect("RECEIPT", timeout_s=20)).headers["receipt-id"] == destination
        await eventually(lambda: readiness(nodes), lambda now: now == {"ready"})
        message_id = await b.push("test-subscribes")
        assert await next_id(client) == message_id
        await client.ack(message_id)
        await b.push_topic("news", "hello")
        assert (await client.expect("MESSAGE")).headers["destination"] == "/topic/news"


async def test_node_that_starts_without_redis_serves_once_it_is_there(redis: Valkey) -> None:
    async with running_proxy(redis.port) as wire:
        wire.refuse()
        async with (
            open_nodes(f"redis://127.0.0.1:{wire.port}", 1, NODE_NAME="late") as [server],
            open_backend(server) as backend,
        ):
            await eventually(lambda: readiness([backend], AT_ONCE_S), lambda now: now == {"degraded"})
            assert (await backend.post("/push_all_obj/test-late", content="hello")).status_code == 503
            await wire.allow()
            await eventually(lambda: readiness([backend]), lambda now: now == {"ready"})
            async with listening(server.websocket_url, "test-late") as client:
                message_id = await backend.push("test-late")
                assert await next_id(client) == message_id
                await client.ack(message_id)
