"""What the presence in Redis does beside what every presence does: dead nodes, losses, and what others write there."""

import asyncio
from collections.abc import Sequence

import pytest

from app.cluster.keys import NODES, devices_key, sessions_key
from app.cluster.node import ClusterNode
from app.errors import SessionLimit, Unavailable
from tests.eventually import eventually
from tests.nodes import proxied_node, running_node
from tests.valkey import fresh_database, valkey

KEY = sessions_key("ann")


def entries(key: str = KEY) -> Sequence[str]:
    return sorted(str(member) for member in valkey().command("ZRANGE", key, 0, -1))


async def joined(node: ClusterNode, *session_ids: str, user: str = "ann", limit: int = 10) -> None:
    for session_id in session_ids:
        await node.presence.join(user, session_id, limit)


async def test_a_session_is_an_entry_with_its_node_that_ends_with_it() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1", life_ms=5_000) as node:
            await joined(node, "s1", "s2")
            assert entries() == ["n1::s1", "n1::s2"]
            assert 4_000 < int(valkey().command("PTTL", KEY)) <= 5_000
            node.presence.leave("ann", "s1")
            await node.presence.flush()
            assert entries() == ["n1::s2"]
            node.presence.leave("ann", "s2")
            await node.presence.flush()
            assert valkey().command("EXISTS", KEY) == 0
            assert node.presence._users == {}


async def test_who_comes_back_to_his_node_at_once_has_room() -> None:
    """That he left may not have been written yet; a refusal would tell the client to stay away."""
    with fresh_database() as url:
        async with running_node(url) as node:
            await joined(node, "s1", limit=1)
            node.presence.leave("ann", "s1")
            await joined(node, "s2", limit=1)
            with pytest.raises(SessionLimit):
                await joined(node, "s3", limit=1)


async def test_a_client_that_goes_while_it_is_counted_leaves_nothing() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            for turns in range(4):
                joining = asyncio.create_task(joined(node, "s1"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                joining.cancel()
                node.presence.leave("ann", "s1")
                await node.presence.flush()
                assert entries() == []
            assert node.presence._users == {}


# Nodes that died


async def test_sessions_of_nodes_that_are_gone_do_not_count() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            valkey().command("ZADD", KEY, 9_999_999_999_999, "dead::s1", 9_999_999_999_999, "dead::s2")
            async with running_node(url, "dead"):
                with pytest.raises(SessionLimit):
                    await joined(node, "s3", limit=2)
            await joined(node, "s3", limit=2)
            assert entries() == ["n1::s3"]


async def test_a_node_that_says_nothing_any_more_is_gone_though_its_connection_is_open() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node, running_node(url, "hung") as hung:
            await joined(hung, "s1")
            valkey().command("ZREM", NODES, "hung")
            await joined(node, "s2", limit=1)
            assert entries() == ["n1::s2"]


async def test_a_node_that_was_away_for_a_moment_counts_its_sessions_in_again() -> None:
    async with proxied_node("n1") as (proxy, away), running_node(valkey().url, "n2") as node:
        await joined(away, "s1", "s2", limit=2)
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not away.client.is_up)
        await joined(node, "s3", limit=2)
        assert entries() == ["n2::s3"]
        await proxy.allow()
        await eventually(lambda: entries() == ["n1::s1", "n1::s2", "n2::s3"])
        away.presence.leave("ann", "s1")
        await away.presence.flush()
        with pytest.raises(SessionLimit):
            await joined(node, "s4", limit=2)
        away.presence.leave("ann", "s2")
        await away.presence.flush()
        await joined(node, "s4", limit=2)


async def test_sessions_of_a_node_that_runs_stay_and_those_of_a_dead_one_fade() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1", life_ms=300) as node:
            await joined(node, "s1")
            valkey().command("ZADD", KEY, 1, "dead::s2")
            await asyncio.sleep(0.5)
            with pytest.raises(SessionLimit):
                await joined(node, "s3", limit=1)
            assert entries() == ["n1::s1"]


# Losses


async def test_sessions_are_counted_again_after_redis_lost_all() -> None:
    async with proxied_node("n1") as (proxy, node):
        await joined(node, "s1")
        valkey().command("FLUSHALL")
        proxy.cut()
        await eventually(lambda: entries() == ["n1::s1"])


async def test_without_redis_nobody_joins_and_who_leaves_is_forgotten_later() -> None:
    async with proxied_node("n1") as (proxy, node):
        await joined(node, "s1", "s2")
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        with pytest.raises(Unavailable):
            await joined(node, "s3")
        node.presence.leave("ann", "s1")
        with pytest.raises(Unavailable):
            await node.presence.flush()
        await proxy.allow()
        await eventually(lambda: entries() == ["n1::s2"])


# What others write there


async def test_garbage_among_the_sessions_does_not_count_and_breaks_nothing() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            for member in (b"\xff", b"", b"::", b"no separator"):
                valkey().client().zadd(KEY, {member: 9_999_999_999_999})
            valkey().command("HSET", devices_key("ann"), "phone", "garbage", "desk", "")
            await joined(node, "s1", limit=1)
            await node.presence.join("ann", "s2", 2, "phone")
            node.presence.refresh_soon()
            valkey().command("HSET", devices_key("ann"), "phone", "garbage")
            assert await node.presence.join("ann", "s3", 3, "phone") is None
            assert entries() == ["n1::s1", "n1::s2", "n1::s3"]


async def test_a_key_that_is_no_set_of_sessions_concerns_its_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cluster.presence.SLICE", 1)
    with fresh_database() as url:
        async with running_node(url, "n1", life_ms=300) as node:
            await joined(node, "s1")
            await joined(node, "s2", user="bob")
            await joined(node, "s3", user="cat")
            valkey().command("SET", KEY, "garbage")
            await asyncio.sleep(0.5)
            assert entries(sessions_key("bob")) == ["n1::s2"]
            assert entries(sessions_key("cat")) == ["n1::s3"]
            with pytest.raises(Unavailable, match="WRONGTYPE"):
                await joined(node, "s4")


async def test_many_users_are_refreshed_in_slices() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1", life_ms=60_000) as node:
            await asyncio.gather(*(joined(node, f"s{n}", user=f"u{n}") for n in range(450)))
            valkey().command("FLUSHALL")
            node.presence.refresh_soon()
            await eventually(lambda: valkey().command("DBSIZE") >= 450)
            await eventually(lambda: entries(sessions_key("u449")) == ["n1::s449"])


async def test_who_was_counted_while_the_answer_was_lost_is_not_counted_for_long() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            (link,) = node.client._links.values()

            async def lose_the_answer() -> None:
                await eventually(entries)
                link.abort()

            losing = asyncio.create_task(lose_the_answer())
            link.pause_reading()
            with pytest.raises(Unavailable):
                await node.presence.join("ann", "s1", 10)
            await losing
            await eventually(lambda: not entries())
