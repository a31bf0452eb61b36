"""SockJS on three nodes with nothing that keeps a client at one of them."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.client import StompClient
from tests.e2e.backend import Backend
from tests.e2e.trio import keys, open_backends, running_nodes
from tests.eventually import eventually
from tests.proxy import running_round_robin
from tests.service import Server
from tests.sockjs_client import RECEIVING, stomp_over_sockjs
from tests.transports.raw_http import Base, Exchange
from tests.valkey import Valkey, running_valkey

CLIENTS, PUSHES = 100, 1000


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="module")
def servers(redis: Valkey) -> Iterator[Sequence[Server]]:
    settings = {"ACK_CHECK_WAIT_MS": "20000", "SOCKJS_RESPONSE_LIMIT_BYTES": "4096"}
    with running_nodes(redis.url, **settings, SOCKJS_DISCONNECT_DELAY_MS="5000") as servers:
        yield servers


@pytest.fixture
async def nodes(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(servers) as backends:
        yield backends


@pytest.fixture
async def round_robin(servers: Sequence[Server]) -> AsyncIterator[int]:
    """The port of a balancer that sends each connection, which is each request, to the next node."""
    async with running_round_robin([server.port for server in servers]) as proxy:
        yield proxy.port


@pytest.mark.parametrize("transport", RECEIVING)
async def test_each_request_may_meet_another_node(nodes: Sequence[Backend], round_robin: int, transport: str) -> None:
    user = f"test-spread-{transport}"
    async with stomp_over_sockjs(round_robin, transport) as client:
        await client.connect(user)
        await client.subscribe()
        for number in range(30):
            message_id = await nodes[number % 3].push(user, f"{number} " + "x" * 500)
            frame = await client.expect("MESSAGE")
            assert frame.headers["message-id"] == message_id
            await client.ack(message_id)
        await nodes[0].becomes(message_id, "delivered")
        await client.send("DISCONNECT", {"receipt": "bye"})
        await client.expect("RECEIPT")
        assert await client.closed() == (1000, "bye")
    await nodes[0].has_sessions(user, 0)


async def test_a_hundred_polling_clients_lose_nothing_and_keep_their_order(
    nodes: Sequence[Backend], round_robin: int
) -> None:
    async with AsyncExitStack() as stack:
        users = [f"test-poll-{number}" for number in range(CLIENTS)]
        clients = {
            user: await stack.enter_async_context(stomp_over_sockjs(round_robin, "xhr-polling")) for user in users
        }
        for user, client in clients.items():
            await client.connect(user)
            await client.subscribe()
        accepted: dict[str, list[str]] = {user: [] for user in users}

        async def push(number: int) -> None:
            user = users[number % CLIENTS]
            accepted[user].append(await nodes[number % 3].push(user, str(number)))

        readers = [asyncio.create_task(take(client, PUSHES // CLIENTS)) for client in clients.values()]
        for start in range(0, PUSHES, CLIENTS):  # one user's messages one after another, those of all at once
            await asyncio.gather(*(push(start + number) for number in range(CLIENTS)))
        received = await asyncio.wait_for(asyncio.gather(*readers), 60)

    assert dict(zip(users, received, strict=True)) == accepted
    assert sum(map(len, received)) == PUSHES


async def take(client: StompClient, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        ids.append((await client.expect("MESSAGE", 30)).headers["message-id"])
        await client.ack(ids[-1])
    return ids


async def test_unknown_session_is_not_found_on_any_node(servers: Sequence[Server]) -> None:
    for server in servers:
        assert (await Base(server.port, "/stomp-ws").post("/000/nobody/xhr_send", '["x"]')).status == 404


async def test_rules_of_a_session_hold_across_nodes(servers: Sequence[Server], redis: Valkey) -> None:
    a, b, c = (Base(server.port, "/stomp-ws/000/across") for server in servers)
    assert (await a.post("/xhr")).body == b"o\n"
    assert await keys(redis, "stomp::sockjs::across") == ["stomp::sockjs::across"]

    assert (await b.post("/xhr_send", '["x')).text == "Broken JSON encoding."
    waiting = asyncio.create_task(b.post("/xhr"))
    await asyncio.sleep(0.2)
    for node in (a, b, c):
        assert (await node.post("/xhr")).body == b'c[2010,"Another connection still open"]\n'

    assert (await c.post("/xhr_send", json.dumps(["NONSENSE\n\n\0"]))).status == 204
    assert (await waiting).body.startswith(b'a["ERROR')
    for node in (a, b, c):
        assert (await node.post("/xhr")).body.startswith(b"c[4501,")


async def test_client_that_vanishes_at_another_node_is_noticed(nodes: Sequence[Backend], round_robin: int) -> None:
    for transport in ("xhr-polling", "xhr-streaming"):
        user = f"test-vanish-{transport}"
        for _ in range(3):
            async with stomp_over_sockjs(round_robin, transport) as client:
                await client.connect(user)
                await client.subscribe()
                await nodes[0].has_sessions(user, 1)
            await nodes[0].has_sessions(user, 0)


async def test_session_of_a_node_that_dies_is_lost_and_the_next_gets_everything(redis: Valkey) -> None:
    with running_nodes(redis.url, 2, ACK_CHECK_WAIT_MS="20000") as (dying, staying):
        ports = itertools.chain([dying.port], itertools.repeat(staying.port))
        async with (
            open_backends([staying]) as (backend,),
            stomp_over_sockjs(lambda: next(ports), "xhr-polling") as client,
        ):
            await client.connect("test-dying")
            await client.subscribe()

            await asyncio.to_thread(dying.stop, signal.SIGKILL)

            message_id = await backend.push("test-dying", "kept")
            async with stomp_over_sockjs(staying.port, "xhr-polling") as again:
                await again.connect("test-dying")
                await again.subscribe()
                assert (await again.expect("MESSAGE")).headers["message-id"] == message_id
                await again.ack(message_id)


async def test_owner_that_stops_tells_its_clients_at_other_nodes(redis: Valkey) -> None:
    with running_nodes(redis.url, 2) as (stopping, staying):
        ports = itertools.chain([stopping.port], itertools.repeat(staying.port))
        async with stomp_over_sockjs(lambda: next(ports), "xhr-polling") as client:
            await client.connect("test-stopping")

            stopped = asyncio.create_task(asyncio.to_thread(stopping.stop))

            assert (await client.closed())[0] == 1012
            assert await asyncio.wait_for(stopped, 8) == 0


def connections_of(server: Server) -> int:
    """Established connections to its port, as the kernel lists them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{server.port:04X}") and line.split()[3] == "01" for line in lines)


async def test_node_that_stops_passes_the_clients_of_others_on(redis: Valkey) -> None:
    with running_nodes(redis.url, 2) as (staying, stopping):
        ports = itertools.chain([staying.port] * 3, [stopping.port], itertools.repeat(staying.port))
        async with (
            open_backends([staying]) as (backend,),
            stomp_over_sockjs(lambda: next(ports), "xhr-polling") as client,
        ):
            await client.connect("test-passed-on")  # the next poll waits at the node that stops
            await eventually(lambda: connections_of(stopping) > 0)
            await asyncio.sleep(0.5)  # for what was sent on it

            assert await asyncio.wait_for(asyncio.to_thread(stopping.stop), 8) == 0

            await client.subscribe()
            message_id = await backend.push("test-passed-on")
            assert (await client.expect("MESSAGE")).headers["message-id"] == message_id


async def test_large_messages_that_are_passed_on_all_at_once_cut_no_node_off(servers: Sequence[Server]) -> None:
    owner, other = (Base(server.port, "/stomp-ws/000") for server in servers[:2])
    body = json.dumps(["\N{LATIN SMALL LETTER E WITH ACUTE}" * 260_000], ensure_ascii=False)
    for number in range(100):
        assert (await owner.post(f"/large{number}/xhr")).body == b"o\n"
    polls = [asyncio.create_task(owner.post(f"/large{number}/xhr")) for number in range(100)]  # or they would lapse

    async def send(number: int) -> int:
        async with Exchange(servers[1].port) as exchange:
            await exchange.send("POST", f"{other.path}/large{number}/xhr_send", body=body.encode())
            return (await exchange.head(20)).status

    assert {*await asyncio.gather(*map(send, range(100)))} == {204}
    await asyncio.gather(*polls)  # each has the end of its session: that is more than CONNECT may be
    assert "Redis is away" not in servers[0].log()
