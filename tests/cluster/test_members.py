import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from app.cluster import members as members_module
from app.cluster.keys import CLEANER, NODES, ledger_keys
from app.cluster.node import ClusterNode
from app.errors import Unavailable
from tests.eventually import eventually
from tests.nodes import proxied_node, running_node
from tests.proxy import running_proxy
from tests.valkey import fresh_database, valkey

(LEDGER,) = ledger_keys(1)


def die(*names: str) -> None:
    """Add nodes whose lease expired long ago."""
    for name in names:
        valkey().command("ZADD", NODES, 1, name)


def records_of(node: str, count: int, ledger: str = LEDGER) -> None:
    pairs = [word for n in range(count) for word in (f"m{n}::{node}", f'{{"id":"m{n}","node":"{node}"}}')]
    valkey().command("HSET", ledger, *pairs)


def nodes() -> Sequence[str]:
    return [str(name) for name in valkey().command("ZRANGE", NODES, 0, -1)]


async def test_nodes_see_each_other_while_they_are_there() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one:
            assert await one.members.poll() == []
            async with running_node(url, "n2") as two:
                await eventually(lambda: "n2" in nodes())
                assert await one.members.poll() == ["n2"]
                assert await two.members.poll() == ["n1"]
                assert one.members.others == ["n2"]
            assert await one.members.poll() == [], "it said goodbye"


async def test_a_silent_node_loses_its_lease() -> None:
    with fresh_database() as url:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running_node(url, "n1", ttl_ms=300))
            valkey().command("ZADD", NODES, 9_999_999_999_999, "n2")
            assert await one.members.poll() == ["n2"]
            die("n2")
            assert await one.members.poll() == []


async def test_those_live_that_say_so_and_hold_a_connection() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2"), running_node(url, "n3"):
            valkey().command("ZADD", NODES, 9_999_999_999_999, "killed")
            await eventually(lambda: {"n2", "n3"} < set(nodes()))
            assert await one.members.living(["n3", "n2", "killed", "unknown"]) == ["n3", "n2"]
            assert await one.members.living([]) == ()
            valkey().command("ZREM", NODES, "n3")
            assert await one.members.living(["n3", "n2"]) == ["n2"]


async def test_a_lost_lease_calls_the_callbacks() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            await node.members.poll()  # after the first beat, which registered the node
            losses: list[None] = []
            node.members.on_lease_lost(lambda: losses.append(None))
            await node.members.poll()
            assert losses == []
            die("n1")
            await node.members.poll()
            assert len(losses) == 1


async def test_without_redis_the_others_are_those_of_before() -> None:
    async with proxied_node() as (proxy, node):
        valkey().command("ZADD", NODES, 9_999_999_999_999, "n2")
        await node.members.poll()
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        with pytest.raises(Unavailable):
            await node.members.poll()
        assert node.members.others == ["n2"]
        valkey().command("DEL", NODES)
        await proxy.allow()
        await eventually(lambda: nodes() == ["n1"])


async def test_after_a_loss_of_redis_earlier_members_are_expected_for_one_ttl() -> None:
    with fresh_database():
        async with (
            running_proxy(valkey().port) as proxy,
            running_node(f"redis://127.0.0.1:{proxy.port}", "n1", ttl_ms=1_000) as node,
        ):
            valkey().command("ZADD", NODES, 9_999_999_999_999, "n2", 9_999_999_999_999, "n3")
            await node.members.poll()
            valkey().command("DEL", NODES)
            for _ in range(2):  # the second loss keeps the expected members
                proxy.refuse()
                proxy.cut()
                await eventually(lambda: not node.client.is_up)
                await proxy.allow()
                await eventually(lambda: node.client.is_up)
                await node.members.poll()
                assert (node.members.others, node.members.expected) == ([], ["n2", "n3"])
            valkey().command("ZADD", NODES, 9_999_999_999_999, "n3")
            assert await node.members.poll() == ["n3"]
            assert node.members.expected == ["n3", "n2"]
            valkey().command("ZREM", NODES, "n3")
            await node.members.poll()
            assert node.members.expected == ["n2"], "the one that was back has left"
            await eventually(lambda: node.members.expected == [])


# Cleaning up after dead nodes


@pytest.mark.parametrize("partitions", [1, 3])
async def test_the_records_of_dead_nodes_are_removed_and_those_of_others_stay(
    partitions: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with fresh_database() as url:
        ledgers = ledger_keys(partitions)
        for ledger in ledgers:
            records_of("dead", 700, ledger)
            records_of("n2", 10, ledger)
        die("dead", "dead2")
        async with running_node(url, "n1", ttl_ms=300, partitions=partitions):
            await eventually(lambda: nodes() == ["n1"])
            assert [valkey().command("HLEN", ledger) for ledger in ledgers] == [10] * partitions
            await eventually(lambda: f"{700 * partitions} records of the dead nodes" in caplog.text)
            assert valkey().command("EXISTS", CLEANER) == 0


async def test_one_node_cleans_at_a_time_and_another_takes_over() -> None:
    with fresh_database() as url:
        records_of("dead", 5)
        die("dead")
        valkey().command("SET", CLEANER, "n0", "PX", 100)
        async with running_node(url, "n1", ttl_ms=300):
            await asyncio.sleep(0.05)
            assert valkey().command("HLEN", LEDGER) == 5
            await eventually(lambda: valkey().command("HLEN", LEDGER) == 0)


async def test_a_node_that_cleans_a_large_ledger_keeps_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the other nodes would count it as dead and remove its records."""
    monkeypatch.setattr(members_module, "CLEANING_PAUSE_S", 0.1)
    with fresh_database() as url:
        records_of("dead", 3_000)
        die("dead")
        async with running_node(url, "n1", ttl_ms=300):
            await eventually(lambda: valkey().command("EXISTS", CLEANER))
            for _ in range(10):
                await asyncio.sleep(0.05)
                alive_until_ms = float(str(valkey().command("ZSCORE", NODES, "n1")))
                seconds, micros = (int(part) for part in valkey().command("TIME"))
                assert alive_until_ms > seconds * 1_000 + micros / 1_000
            assert valkey().command("EXISTS", CLEANER) == 1, "it is at it still"


async def test_a_node_that_returns_during_the_cleaning_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "CLEANING_PAUSE_S", 0.1)
    with fresh_database() as url:
        records_of("late", 2_000)
        die("late", "dead")
        async with running_node(url, "n1", ttl_ms=300) as node:
            await eventually(lambda: valkey().command("EXISTS", CLEANER))
            valkey().command("ZADD", NODES, 9_999_999_999_999, "late")
            await eventually(lambda: "dead" not in nodes())
            assert set(nodes()) == {"n1", "late"}
            assert await node.members.poll() == ["late"]


async def test_garbage_among_the_nodes_is_cleared_away() -> None:
    with fresh_database() as url:
        valkey().client().zadd(NODES, {b"\xff\xfe": 1, b"": 1})
        async with running_node(url, "n1", ttl_ms=300) as node:
            await eventually(lambda: valkey().command("ZCARD", NODES) == 1)
            valkey().client().zadd(NODES, {b"\xff\xfe": 9_999_999_999_999})
            assert len(await node.members.poll()) == 1


async def test_a_ledger_that_is_none_is_left_alone() -> None:
    with fresh_database() as url:
        valkey().command("SET", LEDGER, "garbage")
        die("dead")
        async with running_node(url, "n1", ttl_ms=300) as node:
            await asyncio.sleep(0.2)
            assert node.client.is_up
            assert await still_beats(node)


async def still_beats(node: ClusterNode) -> bool:
    die(node.name)
    await eventually(lambda: float(str(valkey().command("ZSCORE", NODES, node.name))) > 1)
    return True


async def test_a_node_that_another_cleans_up_behind_is_expected_as_well() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1", ttl_ms=5_000) as one, running_node(url, "n2", ttl_ms=5_000) as two:
            await eventually(lambda: one.members.others == ["n2"] and two.members.others == ["n1"])
            seconds = int(valkey().command("TIME")[0])
            valkey().command("ZADD", NODES, seconds * 1_000 - 1_000, "silent")
            await two.members.poll()
            await eventually(lambda: float(str(valkey().command("ZSCORE", NODES, "silent"))) < 0)
            await one.members.poll()
            assert one.members.expected == ["n2", "silent"]
            valkey().command("ZADD", NODES, 6_000 - seconds * 1_000, "silent")
            await one.members.poll()
            assert one.members.expected == ["n2"]


async def test_nodes_know_one_another_as_soon_as_they_are_there() -> None:
    """With beats alone it would take 20 s."""
    with fresh_database() as url:
        async with running_node(url, "n1", ttl_ms=60_000) as one, running_node(url, "n2", ttl_ms=60_000) as two:
            await eventually(lambda: one.members.others == ["n2"] and two.members.others == ["n1"])


async def test_a_node_that_lost_its_lease_is_expected_for_one_more_ttl() -> None:
    """It may only be cut off from Redis while its sessions wait."""
    with fresh_database() as url:
        async with running_node(url, "n1", ttl_ms=600) as node:
            valkey().command("ZADD", NODES, 1, "silent")
            await node.members.poll()
            assert "silent" not in node.members.others
            assert "silent" in node.members.expected
            await eventually(lambda: "silent" not in node.members.expected)
