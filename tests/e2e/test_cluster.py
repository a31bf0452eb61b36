"""Three nodes and a Valkey: whoever is pushed to is reached, wherever he is and wherever the push came in."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from tests.client import StompClient, stomp_client
from tests.e2e.backend import Backend, eventually
from tests.e2e.trio import open_backends, running_nodes
from tests.server import Server
from tests.valkey import Valkey, running_valkey

PENDING = "stomp::pending_messages"


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture(scope="module")
def servers(redis: Valkey) -> Iterator[Sequence[Server]]:
    with running_nodes(redis.url) as servers:
        yield servers


@pytest.fixture
async def nodes(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with open_backends(servers) as backends:
        yield backends


async def pending(redis: Valkey) -> set[str]:
    return await asyncio.to_thread(lambda: {str(field) for field in redis.command("HKEYS", PENDING)})


async def messages(client: StompClient, count: int) -> list[str]:
    return [(await client.expect("MESSAGE")).headers["message-id"] for _ in range(count)]


async def test_a_push_on_one_node_reaches_the_sessions_on_the_others(nodes: Sequence[Backend], redis: Valkey) -> None:
    a, b, c = nodes
    async with stomp_client(a.server.websocket_url) as phone, stomp_client(b.server.websocket_url) as desk:
        ids = []
        for client in (phone, desk):
            ids.append((await client.connect("test-two")).headers["session"])
            await client.subscribe()

        answer = await c.push_msg(receiver="test-two", data="hello")

        assert (answer["status"], answer["sessions"]) == ("sent", 0)
        message_id = answer["id"]
        assert await messages(phone, 1) == await messages(desk, 1) == [message_id]
        await eventually(lambda: pending(redis), lambda now: now == {f"{message_id}::{session}" for session in ids})
        await phone.ack(message_id)
        await eventually(lambda: pending(redis), lambda now: now == {f"{message_id}::{ids[1]}"})
        assert await asyncio.to_thread(redis.command, "HLEN", "stomp::inbox::{test-two}") == 0
        await desk.ack(message_id)
        await eventually(lambda: pending(redis), lambda now: now == set())
        status = await c.status(message_id)
        assert status["status"] == "delivered"
        assert {one["session"] for one in status["sessions"] if one["acked_at"]} == set(ids)
        assert status["unanswered"] == []
