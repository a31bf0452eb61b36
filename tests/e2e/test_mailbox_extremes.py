"""Redis that has lost its data, and users who have missed very much."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.client import listening, stomp_client
from tests.e2e.test_cluster_mailbox import Pair, open_pair, push, received
from tests.e2e.trio import ask
from tests.valkey import Valkey, running_valkey


@pytest.fixture(scope="module")
def redis() -> Iterator[Valkey]:
    with running_valkey(appendfsync="everysec") as valkey:
        yield valkey


@pytest.fixture
async def pair(redis: Valkey) -> AsyncIterator[Pair]:
    async with open_pair(redis) as pair:
        yield pair


@pytest.mark.parametrize("persisted", [False, True], ids=["transient", "persisted"])
async def test_session_gets_what_was_acknowledged_elsewhere_after_redis_lost_its_data(
    pair: Pair, redis: Valkey, persisted: bool
) -> None:
    near_url, far_url = (node.server.websocket_url for node in pair.nodes)
    async with listening(near_url, "test-flush") as near, listening(far_url, "test-flush") as far:
        first = await push(pair.nodes[0], "test-flush", persisted)
        for client in (near, far):
            assert await received(client, 1) == [first]
        await pair.cut(1)
        await ask(redis, "FLUSHALL")
        ids = [await push(pair.nodes[0], "test-flush", persisted) for _ in range(3)]
        assert await received(near, 3) == ids
        await asyncio.sleep(0.3)
        await pair.mend(1)
        assert await received(far, 3) == ids


# Redis ends connections for which it has to buffer too much, and the node would come back and ask again


async def killed(redis: Valkey) -> int:
    """Connections that Redis ended so."""
    stats: Any = await asyncio.to_thread(redis.client().info, "stats")
    return int(stats["client_output_buffer_limit_disconnections"])


def batch(user: str, count: int) -> list[dict[str, str]]:
    return [{"receiver": user, "type": "STRING_MSG", "data": "x" * 5_000} for _ in range(count)]


async def test_node_catches_up_with_many_users_who_missed_much(redis: Valkey) -> None:
    users = [f"test-much-{number}" for number in range(60)]
    async with open_pair(redis) as pair, AsyncExitStack() as stack:
        url = pair.nodes[1].server.websocket_url
        clients = [await stack.enter_async_context(listening(url, user)) for user in users]
        await pair.cut(1)
        sent = []
        for user in users:
            parts = [await pair.nodes[0].push_batch(batch(user, 80)) for _ in range(3)]
            sent.append([result["id"] for part in parts for result in part])
        before = await killed(redis)
        await pair.mend(1)
        assert await asyncio.gather(*(received(client, 240) for client in clients)) == sent
        assert await killed(redis) == before


async def test_many_sessions_come_at_once_for_full_mailboxes(redis: Valkey) -> None:
    users = [f"test-full-{number}" for number in range(100)]
    async with open_pair(redis) as pair:
        here, there = pair.nodes
        for user in users:
            for _ in range(3):
                await here.push_batch(batch(user, 80))
        before = await killed(redis)

        async def come(user: str) -> int:
            async with stomp_client(there.server.websocket_url) as client:
                await client.connect(user)
                await client.send("SUBSCRIBE", {"id": "s", "destination": "/user/queue/msg"})
                return len(await received(client, 240))

        assert set(await asyncio.gather(*map(come, users))) == {240}
        assert await killed(redis) == before


# Acknowledgements


async def test_acknowledgement_that_was_confirmed_holds_after_redis_has_forgotten_it(redis: Valkey) -> None:
    async with open_pair(redis, ACK_REMEMBER_MS="1000", MAILBOX_WINDOW_MS="1000") as pair:
        here, there = pair.nodes
        async with listening(there.server.websocket_url, "test-ack") as client:
            id = await push(here, "test-ack", persisted=True)
            frame = await client.expect("MESSAGE")
            assert frame.headers["message-id"] == id
            await client.send("SEND", {"destination": "/app/ack", "receipt": "stored"}, id)
            await client.expect("RECEIPT")
            there.server.process.send_signal(signal.SIGKILL)
        await asyncio.sleep(1.5)
        async with listening(here.server.websocket_url, "test-ack") as client:
            await client.silent(1)


async def test_transaction_of_acknowledgements_holds_up_nothing_behind_it_while_redis_is_away(pair: Pair) -> None:
    async with listening(pair.nodes[1].server.websocket_url, "test-commit") as client:
        ids = [await push(pair.nodes[0], "test-commit", persisted=False) for _ in range(2)]
        for id in ids:
            assert (await client.expect("MESSAGE")).headers["message-id"] == id
        await pair.cut(1)
        await client.send("BEGIN", {"transaction": "t"})
        for id in ids:
            await client.send("SEND", {"destination": "/app/ack", "transaction": "t", "receipt": f"in-{id}"}, id)
        await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
        await client.send("SUBSCRIBE", {"id": "e", "destination": "/user/queue/errors", "receipt": "behind"})

        async def receipt() -> str:
            while (frame := await client.receive()).command != "RECEIPT":
                pass
            return frame.headers["receipt-id"]

        assert [await receipt() for _ in range(3)] == [*(f"in-{id}" for id in ids), "behind"]
        await pair.mend(1)
        assert await receipt() == "commit"
