"""Several server processes that share a Redis: the service as it runs on Kubernetes, on one machine."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from tests.e2e.backend import Backend, open_backend
from tests.service import Server, running_server
from tests.valkey import Valkey

PENDING, NODES = "stomp::pending_messages", "stomp::nodes"
QUICK = {
    "ACK_CHECK_WAIT_MS": "500",
    "ACK_RETRY_INTERVAL_MS": "500",
    "ACK_MESSAGE_TTL_MS": "60000",
    "NODE_TTL_MS": "2000",
    "REDIS_TIMEOUT_MS": "1500",
}


@contextmanager
def running_nodes(redis_url: str, count: int = 3, /, **env: str) -> Iterator[Sequence[Server]]:
    """They are called n1, n2, …; each has its own SQLite unless DATABASE_URL says otherwise."""
    settings = [QUICK | {"REDIS_URL": redis_url, "NODE_NAME": f"n{number}"} | env for number in range(1, count + 1)]
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:  # each takes its time to start
        yield [*pool.map(lambda one: stack.enter_context(running_server(**one)), settings)]


@asynccontextmanager
async def open_nodes(redis_url: str, count: int = 3, /, **env: str) -> AsyncIterator[Sequence[Server]]:
    """As `running_nodes`, while the event loop goes on: what they connect to may be in it."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, running_nodes(redis_url, count, **env))
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def open_backends(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_backend(server)) for server in servers]


# What is in Redis


async def ask(redis: Valkey, *words: str | int) -> object:
    """A command, while the event loop goes on."""
    return await asyncio.to_thread(redis.command, *words)


async def ledger(redis: Valkey) -> dict[str, str]:
    """The values by their fields."""
    records: dict[str, str] = await asyncio.to_thread(redis.command, "HGETALL", PENDING)
    return records


async def keys(redis: Valkey, pattern: str) -> list[str]:
    found: list[str] = await asyncio.to_thread(redis.command, "KEYS", pattern)
    return found


async def living(redis: Valkey) -> set[str]:
    """The names of the nodes, n1 and so on."""
    names: list[str] = await asyncio.to_thread(redis.command, "ZRANGE", NODES, 0, -1)
    return {name.partition("-")[0] for name in names}
