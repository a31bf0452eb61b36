import asyncio
import socket
import time

import pytest

from app.cluster import node as node_module
from app.cluster.keys import NODES, sessions_key
from app.cluster.node import MAX_NAME_LENGTH, ClusterNode, unique_node_name
from app.redis.address import parse_redis_url
from tests.eventually import eventually
from tests.nodes import proxied_node, running, running_node
from tests.proxy import running_proxy
from tests.valkey import fresh_database, running_valkey, valkey


def new_node(url: str) -> ClusterNode:
    return ClusterNode(parse_redis_url(url), name="n1", ttl_ms=15_000, timeout_s=3.0, ledgers=("ledger",))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("web-1", "web-1-"),
        ("a b/c{d}::é", "a-b-c-d-----"),
        ("x" * 100, "x" * MAX_NAME_LENGTH + "-"),
        ("", None),
        (None, None),
    ],
)
def test_a_node_has_its_name_or_that_of_its_host_without_what_has_a_meaning_in_keys(
    name: str | None, start: str | None
) -> None:
    unique = unique_node_name(name)
    assert unique.startswith(start or socket.gethostname()[:10])
    assert set(unique) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert len(unique) <= MAX_NAME_LENGTH + 9


def test_a_node_that_starts_again_is_another() -> None:
    assert unique_node_name("web-1") != unique_node_name("web-1")


async def test_a_node_that_leaves_takes_its_entries_along() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            await node.presence.join("ann", "s1", 1)
            node.presence.leave("ann", "s1")
        assert valkey().command("ZRANGE", NODES, 0, -1) == []
        assert valkey().command("EXISTS", sessions_key("ann")) == 0


async def test_a_node_starts_without_redis_and_serves_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "LIFECYCLE_TIMEOUT_S", 0.05)
    with fresh_database():
        async with running_proxy(valkey().port) as proxy:
            proxy.refuse()
            node = new_node(f"redis://127.0.0.1:{proxy.port}")
            async with running(node.run):
                await node.wait_until_up()
                assert not node.relay.is_up
                await proxy.allow()
                await node.client.wait_until_up(5)
                assert node.relay.is_up
                await node.presence.join("ann", "s1", 1)


@pytest.mark.parametrize("how", ["gone", "hung"])
async def test_a_node_that_cannot_say_goodbye_ends_all_the_same(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "LIFECYCLE_TIMEOUT_S", 0.1)
    async with proxied_node() as (proxy, node):
        node.presence.leave("ann", "s1")
        if how == "gone":
            proxy.refuse()
            proxy.cut()
        else:
            proxy.stall()
        started_s = time.monotonic()
        await node.leave()
        assert time.monotonic() - started_s < 0.5
        proxy.flow()


async def test_a_node_outlives_a_redis_that_starts_anew_without_its_data() -> None:
    with running_valkey() as server:
        async with running_node(server.url, "n1") as node:
            await node.presence.join("ann", "s1", 1)
            server.command("CONFIG", "SET", "appendonly", "no")
            server.command("FLUSHALL")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await eventually(lambda: server.command("EXISTS", sessions_key("ann"), NODES) == 2)
