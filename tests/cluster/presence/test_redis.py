"""Redis presence beyond the contract: dead nodes, losses, and data of other programs."""

import asyncio
from collections.abc import Sequence

import pytest

from app.cluster.keys import NODES, devices_key, sessions_key
from app.cluster.node import ClusterNode
from app.cluster.scripts import JOIN
from app.errors import SessionLimit, Unavailable
from tests.contracts.test_presence import Judge
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
        async with running_node(url, "n1", ttl_ms=5_000) as node:
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


async def test_a_user_who_reconnects_to_the_same_node_at_once_has_room() -> None:
    """The end of the old session may not be written yet, and a refusal would tell the client to stay away."""
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


# Dead nodes


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
        async with running_node(url, "n1", ttl_ms=300) as node:
            await joined(node, "s1")
            valkey().command("ZADD", KEY, 1, "dead::s2")
            await asyncio.sleep(0.5)
            with pytest.raises(SessionLimit):
                await joined(node, "s3", limit=1)
            assert entries() == ["n1::s1"]


# Devices


def devices() -> dict[str, str]:
    """Return the sessions, without their turns."""
    found: dict[str, str] = valkey().command("HGETALL", devices_key("ann"))
    return {device: value.partition(" ")[2].removesuffix(" sure") for device, value in found.items()}


def replaced_of(node: ClusterNode) -> list[str]:
    """Return a list that collects the sessions which the node has to end, and let them leave."""
    ended: list[str] = []

    def end(session_id: str) -> None:
        ended.append(session_id)
        node.presence.leave("ann", session_id)

    node.presence.on_replaced = end
    return ended


async def test_a_session_of_another_node_is_ended_there_at_once() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            ended = replaced_of(one)
            await one.presence.join("ann", "s1", 1, "phone")
            assert await two.presence.join("ann", "s2", 1, "phone") is None
            await eventually(lambda: ended == ["s1"])
            await one.presence.flush()
            assert (entries(), devices()) == (["n2::s2"], {"phone": "n2::s2"})


async def test_devices_expire_with_the_sessions_of_their_user() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1", ttl_ms=600) as node:
            await node.presence.join("ann", "s1", 1, "phone")
            await asyncio.sleep(0.8)
            assert devices() == {"phone": "n1::s1"}, "they live as long"
            node.presence.leave("ann", "s1")
            await eventually(lambda: valkey().command("DBSIZE") == 1)  # the nodes


async def test_devices_of_a_user_who_is_always_online_do_not_pile_up() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            await node.presence.join("ann", "stays", 10, "desk")
            for n in range(50):
                await node.presence.join("ann", f"s{n}", 10, f"tab-{n}")
                node.presence.leave("ann", f"s{n}")
                await node.presence.flush()
            assert len(devices()) <= 4
            assert devices()["desk"] == "n1::stays"


async def test_a_node_that_was_away_learns_what_was_replaced_when_it_is_back() -> None:
    async with proxied_node("n1") as (proxy, away), running_node(valkey().url, "n2") as node:
        ended = replaced_of(away)
        await away.presence.join("ann", "s1", 2, "phone")
        await away.presence.join("ann", "s2", 2, "desk")
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not away.client.is_up)
        await node.presence.join("ann", "s3", 2, "phone")
        assert entries() == ["n1::s2", "n2::s3"]
        await proxy.allow()
        await eventually(lambda: ended == ["s1"])
        away.presence.refresh_soon()
        await away.presence.flush()
        await asyncio.sleep(0.1)
        assert (entries(), ended) == (["n1::s2", "n2::s3"], ["s1"])


async def test_a_late_join_of_an_abandoned_attempt_does_not_end_the_current_session() -> None:
    """A frozen server still executes commands that it received before the connection was aborted."""
    with fresh_database() as url:
        async with running_node(url, "n1") as gone, running_node(url, "n2") as node:
            ended = replaced_of(node)
            await node.presence.join("ann", "s2", 2, "phone")
            await gone.client.run_script(
                JOIN, (KEY, devices_key("ann")), "n1::s1", 2, 15_000, "phone"
            )  # the reply was lost
            node.presence.refresh_soon()
            await eventually(lambda: entries() == ["n1::s1", "n2::s2"])
            gone.presence.leave("ann", "s1")
            await gone.presence.flush()
            node.presence.refresh_soon()
            await eventually(lambda: devices() == {"phone": "n2::s2"})
            assert (entries(), ended) == (["n2::s2"], [])


@pytest.mark.parametrize("first", [0, 1])
async def test_after_redis_lost_all_the_latest_session_of_a_device_stays(first: int) -> None:
    async with proxied_node("n1") as (proxy, away), running_node(valkey().url, "n2") as node:
        nodes = [away, node]
        ended = replaced_of(away)
        await away.presence.join("ann", "s1", 1, "phone")
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not away.client.is_up)
        await node.presence.join("ann", "s2", 1, "phone")
        valkey().command("DEL", KEY, devices_key("ann"))
        if first == 0:
            await proxy.allow()
            await eventually(lambda: entries() == ["n1::s1"])
        for one in nodes[::-1]:
            one.presence.refresh_soon()
            await eventually(lambda: "n2::s2" in entries())
        await proxy.allow()
        await eventually(lambda: away.client.is_up)
        away.presence.refresh_soon()
        await eventually(lambda: ended == ["s1"])
        await eventually(lambda: (entries(), devices()) == (["n2::s2"], {"phone": "n2::s2"}))


async def test_a_mapping_that_is_older_than_a_session_does_not_end_it() -> None:
    """A promoted replica may lack the latest session of a device."""
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            ended = replaced_of(node)
            await node.presence.join("ann", "s1", 1, "phone")
            before = valkey().command("HGET", devices_key("ann"), "phone")
            await node.presence.join("ann", "s2", 1, "phone")
            node.presence.leave("ann", "s1")
            await node.presence.flush()
            valkey().command("HSET", devices_key("ann"), "phone", before)
            valkey().command("DEL", KEY)
            valkey().command("ZADD", KEY, 9_999_999_999_999, "n1::s1")
            node.presence.refresh_soon()
            await eventually(lambda: (entries(), devices()) == (["n1::s2"], {"phone": "n1::s2"}))
            assert "s2" not in ended


async def test_without_a_client_id_a_session_takes_one_command_to_join() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:

            async def cost(number: int, client_id: str | None) -> int:
                before = node.client.commands
                await node.presence.join("ann", f"s{number}", 100, client_id)
                return node.client.commands - before

            # Other work of the node may fall into some of them.
            assert min([await cost(number, None) for number in range(5)]) == 1
            assert await cost(5, "phone") >= 2, "one that it does not wait for"
            assert devices() == {"phone": "n1::s5"}


# Overdue sessions of other nodes


async def test_a_session_of_another_node_that_is_overdue_makes_room() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two:
            await joined(one, "s1", "s2")
            judge = Judge(one.presence, "s2")
            await joined(two, "s3", limit=2)
            assert (entries(), judge.questions) == (["n1::s1", "n2::s3"], [("ann", False)])
            with pytest.raises(SessionLimit):
                await joined(two, "s4", limit=2)


async def test_sessions_on_a_node_that_does_not_reply_make_a_join_unavailable() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node, running_node(url, "hung") as hung:
            await joined(hung, "s1")
            hung.control.receive = lambda message: None  # type: ignore[method-assign]
            with pytest.raises(Unavailable, match="do not reply: hung"):
                await joined(node, "s2", limit=1)
            await joined(node, "s2", limit=2)


async def test_only_nodes_with_sessions_of_the_user_are_asked() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as one, running_node(url, "n2") as two, running_node(url, "n3") as three:
            judges = [Judge(node.presence) for node in (one, two, three)]
            await joined(two, "s1")
            with pytest.raises(SessionLimit):
                await joined(one, "s2", limit=1)
            assert [len(judge.questions) for judge in judges] == [1, 1, 0]


# Losses


async def test_sessions_are_counted_again_after_redis_lost_all() -> None:
    async with proxied_node("n1") as (proxy, node):
        await joined(node, "s1")
        valkey().command("FLUSHALL")
        proxy.cut()
        await eventually(lambda: entries() == ["n1::s1"])


async def test_without_redis_joins_fail_and_leaves_are_written_later() -> None:
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


# Data of other programs


async def test_garbage_among_the_sessions_does_not_count_and_breaks_nothing() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            await eventually(lambda: not node.presence._refresh_now.is_set())
            for member in (b"\xff", b"", b"::", b"no separator"):
                valkey().client().zadd(KEY, {member: 9_999_999_999_999})
            valkey().command("HSET", devices_key("ann"), "phone", "garbage", "desk", "")
            await joined(node, "s1", limit=1)
            await node.presence.join("ann", "s2", 2, "phone")
            assert devices()["phone"] == "n1::s2"
            await eventually(lambda: "sure" in str(valkey().command("HGET", devices_key("ann"), "phone")))
            valkey().command("HSET", devices_key("ann"), "phone", "garbage")
            assert await node.presence.join("ann", "s3", 3, "phone") is None
            valkey().command("HSET", devices_key("ann"), "phone", "garbage")
            node.presence.refresh_soon()
            await eventually(lambda: devices()["phone"] == "n1::s3")
            assert entries() == ["n1::s1", "n1::s3"], "one of a device"


async def test_a_sessions_key_of_another_type_affects_its_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cluster.presence.redis.SLICE", 1)
    with fresh_database() as url:
        async with running_node(url, "n1", ttl_ms=300) as node:
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
        async with running_node(url, "n1", ttl_ms=60_000) as node:
            await asyncio.gather(*(joined(node, f"s{n}", user=f"u{n}") for n in range(450)))
            valkey().command("FLUSHALL")
            node.presence.refresh_soon()
            await eventually(lambda: valkey().command("DBSIZE") >= 450)
            await eventually(lambda: entries(sessions_key("u449")) == ["n1::s449"])


async def test_a_join_whose_reply_was_lost_does_not_stay_counted() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            (link,) = node.client._connections.values()

            async def lose_the_answer() -> None:
                await eventually(entries)
                link.abort()

            losing = asyncio.create_task(lose_the_answer())
            link.pause_reading()
            with pytest.raises(Unavailable):
                await node.presence.join("ann", "s1", 10)
            await losing
            await eventually(lambda: not entries())
