"""Cluster nodes without the rest of the service, each connected to a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from app.cluster.keys import ledger_keys
from app.cluster.node import ClusterNode
from app.redis.address import parse_redis_url
from tests.proxy import Proxy, running_proxy
from tests.valkey import fresh_database, valkey


@asynccontextmanager
async def running(*jobs: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run a job while the context is open. Its failure fails the test."""
    tasks = [asyncio.create_task(job()) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, asyncio.CancelledError)] == []


@asynccontextmanager
async def running_node(
    url: str, name: str = "n1", *, ttl_ms: int = 15_000, timeout_s: float = 3.0, partitions: int = 1
) -> AsyncIterator[ClusterNode]:
    """Yield a node, after waiting for Redis as long as the service does."""
    node = ClusterNode(
        parse_redis_url(url), name=name, ttl_ms=ttl_ms, timeout_s=timeout_s, ledgers=ledger_keys(partitions)
    )
    async with running(node.run):
        await node.wait_until_up()
        yield node
        await node.leave()


@asynccontextmanager
async def proxied_node(name: str = "n1", *, timeout_s: float = 3.0) -> AsyncIterator[tuple[Proxy, ClusterNode]]:
    """Yield a node and the proxy between it and Redis, which can fail."""
    with fresh_database():
        async with (
            running_proxy(valkey().port) as proxy,
            running_node(f"redis://127.0.0.1:{proxy.port}", name, timeout_s=timeout_s) as node,
        ):
            yield proxy, node
