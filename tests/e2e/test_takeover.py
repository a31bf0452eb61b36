"""A user comes back while the server still takes his old sessions for alive: two nodes, and networks that lie."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from tests.client import StompClient, stomp_client
from tests.e2e.backend import Backend, eventually
from tests.e2e.trio import ask, open_backends, open_nodes, running_nodes
from tests.proxy import running_proxy
from tests.service import Server
from tests.valkey import Valkey, running_valkey

LIMIT = 6
BEAT_MS = 2_000
OVERDUE_S = 1.5 * BEAT_MS / 1000
SETTINGS = {
    "MAX_SESSIONS_PER_USER": str(LIMIT),
    "HEARTBEAT_RECEIVE_MS": str(BEAT_MS),
    "NODE_TTL_MS": "60000",  # nothing here may wait for it
}
PATIENCE_S = 5.0


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="module")
def servers(redis: Valkey) -> Iterator[Sequence[Server]]:
    with running_nodes(redis.url, 2, **SETTINGS) as servers:
        yield servers


@pytest.fixture
async def nodes(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    for server in servers:
        if server.process.poll() is not None:
            server.start()
            await asyncio.to_thread(server.wait_until_ready)
    async with open_backends(servers) as backends:
        yield backends


@asynccontextmanager
async def websocket(url: str) -> AsyncIterator[StompClient]:
    """Gone at the end without a closing handshake, which a network that is gone would not carry."""
    async with stomp_client(url, ping_interval=None) as client:
        yield client
        client.websocket.transport.abort()


async def come(stack: AsyncExitStack, url: str, user: str, **headers: str) -> StompClient:
    """Connected and subscribed, or the test has failed."""
    client = await stack.enter_async_context(websocket(url))
    await client.connect(user, **headers)
    await client.subscribe()
    return client


async def code_for(url: str, user: str, **headers: str) -> int:
    """The close code of a refusal, 0 for none."""
    async with websocket(url) as client:
        offered = {"accept-version": "1.2", "host": "test", "Authorization": user}
        await client.send("CONNECT", offered | headers)
        return 0 if (await client.receive()).command == "CONNECTED" else (await client.closed())[0]


def tabs(count: int = LIMIT) -> list[dict[str, str]]:
    return [{"client-id": f"tab-{number}"} for number in range(count)]


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """The process stands still, and its connections stay open."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def all_come_back(nodes: Sequence[Backend], user: str, headers: Sequence[dict[str, str]]) -> None:
    """At once and to both nodes; each of them gets what is pushed then."""
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        urls = [nodes[number % 2].server.websocket_url for number in range(len(headers))]
        clients = await asyncio.gather(*(come(stack, url, user, **one) for url, one in zip(urls, headers, strict=True)))
        message_id = await nodes[0].push(user)
        for client in clients:
            assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
            await client.ack(message_id)
        assert len(await nodes[1].sessions(user)) == LIMIT


# A change of network: the sockets of the client die, and the server sees nothing of it


@pytest.mark.parametrize(
    ("user", "headers", "silent_s"),
    [
        ("test-tabs", tabs(), 0.0),
        ("test-beats", [{"heart-beat": f"{BEAT_MS},0"}] * LIMIT, OVERDUE_S + 0.2),
        ("test-pings", [{"heart-beat": "0,0"}] * LIMIT, 0.0),
    ],
    ids=["with client-id", "with heart-beats", "with neither"],
)
async def test_six_of_six_come_back_from_another_network(
    user: str, headers: Sequence[dict[str, str]], silent_s: float, nodes: Sequence[Backend]
) -> None:
    async with running_proxy(nodes[0].server.port) as network, AsyncExitStack() as stack:
        for one in headers:
            await come(stack, f"ws://127.0.0.1:{network.port}/stomp-ws", user, **one)
        network.stall()
        await asyncio.sleep(silent_s)  # the server has to find out
        await all_come_back(nodes, user, headers)


@pytest.mark.parametrize("beats", [f"{BEAT_MS},0", "0,0"], ids=["with heart-beats", "without"])
async def test_who_is_alive_is_not_ended_for_a_newcomer(beats: str, nodes: Sequence[Backend]) -> None:
    user = f"test-alive-{beats[0]}"
    async with AsyncExitStack() as stack:
        clients = [
            await come(stack, nodes[n % 2].server.websocket_url, user, **{"heart-beat": beats}) for n in range(LIMIT)
        ]
        for node in nodes:
            for client in clients:
                await client.send_raw(b"\n")
            assert await code_for(node.server.websocket_url, user) == 4504
        message_id = await nodes[0].push(user)
        for client in clients:
            assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
            await client.ack(message_id)


# One device


@pytest.mark.parametrize("there", [0, 1], ids=["on the same node", "on another node"])
async def test_a_new_session_of_a_device_ends_the_older_one_at_once(there: int, nodes: Sequence[Backend]) -> None:
    user, device = f"test-device-{there}", {"client-id": "phone"}
    async with AsyncExitStack() as stack:
        older = await come(stack, nodes[0].server.websocket_url, user, **device)
        message_id = await nodes[0].push(user)
        await older.expect("MESSAGE")
        newer = await come(stack, nodes[there].server.websocket_url, user, **device)
        assert await older.closed(PATIENCE_S) == (4505, "replaced")
        assert (await newer.expect("MESSAGE")).headers["message-id"] == message_id
        await newer.ack(message_id)
        (session,) = await nodes[0].has_sessions(user, 1)
        assert session["client_id"] == "phone"


async def test_one_device_does_not_concern_the_others_nor_another_user(nodes: Sequence[Backend]) -> None:
    async with AsyncExitStack() as stack:
        for headers in [*tabs(3), {}, {}]:
            await come(stack, nodes[0].server.websocket_url, "test-five", **headers)
        await come(stack, nodes[1].server.websocket_url, "test-other", **tabs(1)[0])
        await come(stack, nodes[1].server.websocket_url, "test-five", **tabs(1)[0])
        sessions = await nodes[0].has_sessions("test-five", 5)
        assert sorted(str(one["client_id"]) for one in sessions) == ["None", "None", "tab-0", "tab-1", "tab-2"]
        assert len(await nodes[0].sessions("test-other")) == 1


async def test_a_client_id_that_is_none_is_refused_with_the_rule(nodes: Sequence[Backend]) -> None:
    async with websocket(nodes[0].server.websocket_url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "Authorization": "test-bad", "client-id": "a b"})
        assert b"1 to 64 visible ASCII characters" in (await client.expect("ERROR")).body
        assert (await client.closed())[0] == 4501


# Nodes that are away


async def test_who_was_on_a_killed_node_gets_in_elsewhere_at_once(nodes: Sequence[Backend]) -> None:
    a, b = nodes
    async with AsyncExitStack() as stack:
        for _ in range(LIMIT):
            await come(stack, a.server.websocket_url, "test-killed")
        assert await code_for(b.server.websocket_url, "test-killed") == 4504
        await asyncio.to_thread(a.server.stop, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(LIMIT):
                await come(stack, b.server.websocket_url, "test-killed")
        assert await code_for(b.server.websocket_url, "test-killed") == 4504


async def test_a_device_leaves_a_node_that_hangs_and_is_told_when_that_goes_on(nodes: Sequence[Backend]) -> None:
    a, b = nodes
    async with AsyncExitStack() as stack:
        older = [await come(stack, a.server.websocket_url, "test-hung", **one) for one in tabs()]
        with hanging(a.server):
            async with asyncio.timeout(PATIENCE_S):
                for one in tabs():
                    await come(stack, b.server.websocket_url, "test-hung", **one)
        for client in older:
            assert (await client.closed())[0] == 4505
        assert len(await b.has_sessions("test-hung", LIMIT)) == LIMIT


async def test_who_has_live_sessions_on_a_node_that_hangs_may_come_again(nodes: Sequence[Backend]) -> None:
    """Nobody can say that they are alive, so nobody is told to stay away."""
    a, b = nodes
    async with AsyncExitStack() as stack:
        for _ in range(LIMIT):
            await come(stack, a.server.websocket_url, "test-doubt")
        with hanging(a.server):
            assert await code_for(b.server.websocket_url, "test-doubt") == 1013


async def test_a_node_that_was_cut_off_from_redis_ends_what_was_replaced_and_counts_the_rest_again(
    redis: Valkey,
) -> None:
    user, settings = "test-cut", SETTINGS | {"NODE_TTL_MS": "9000"}  # both refresh their entries every 3 s
    async with running_proxy(redis.port) as link, AsyncExitStack() as stack:
        (a,) = await stack.enter_async_context(open_nodes(f"redis://127.0.0.1:{link.port}", 1, **settings))
        (b,) = await stack.enter_async_context(open_nodes(redis.url, 1, **settings | {"NODE_NAME": "other"}))
        moves = await come(stack, a.websocket_url, user, **{"client-id": "moves"})
        stays = await come(stack, a.websocket_url, user, **{"client-id": "stays"})
        for _ in range(LIMIT - 2):
            await come(stack, b.websocket_url, user)
        link.refuse()
        link.cut()
        await come(stack, b.websocket_url, user, **{"client-id": "moves"})
        await come(stack, b.websocket_url, user)  # in place of what the other node has and cannot say
        assert len(await entries(redis, user)) == LIMIT
        await link.allow()
        assert (await moves.closed(30))[0] == 4505  # after a refresh of each node
        await eventually(lambda: entries(redis, user), lambda now: len(now) == LIMIT + 1, 20)
        assert await code_for(b.websocket_url, user) == 4504
        assert stays.websocket.state.name == "OPEN"


async def entries(redis: Valkey, user: str) -> list[str]:
    found = await ask(redis, "ZRANGE", f"stomp::sessions::{{{user}}}", 0, -1)
    assert isinstance(found, list)
    return found
