"""Several server processes that share a Redis: the service as it runs on Kubernetes, on one machine."""

from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from tests.e2e.backend import Backend, open_backend
from tests.server import Server, running_server

QUICK = {
    "ACK_CHECK_WAIT_MS": "500",
    "ACK_RETRY_INTERVAL_MS": "500",
    "ACK_MESSAGE_TTL_MS": "60000",
    "NODE_TTL_MS": "2000",
    "REDIS_TIMEOUT_MS": "1500",
}


@contextmanager
def running_nodes(redis_url: str, count: int = 3, **env: str) -> Iterator[Sequence[Server]]:
    """They are called n1, n2, …; each has its own SQLite unless DATABASE_URL says otherwise."""
    settings = [QUICK | {"REDIS_URL": redis_url, "NODE_NAME": f"n{number}"} | env for number in range(1, count + 1)]
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:  # each takes its time to start
        yield [*pool.map(lambda one: stack.enter_context(running_server(**one)), settings)]


@asynccontextmanager
async def open_backends(servers: Sequence[Server]) -> AsyncIterator[Sequence[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_backend(server)) for server in servers]
