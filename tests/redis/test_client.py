"""The client, and failures of its server."""

import asyncio

import pytest

from app.cluster.scripts import BEAT
from app.errors import Unavailable
from app.redis import subscriptions as subscriptions_module
from app.redis.address import parse_redis_url
from app.redis.client import RedisClient
from app.redis.scripts import Script
from app.redis.servers import AWAY
from tests.eventually import eventually
from tests.nodes import running
from tests.proxy import Proxy, running_proxy
from tests.redis.clients import Ear, connected, connections, listeners, subscribed, url_of
from tests.redis.scripted import ScriptedServer
from tests.valkey import Valkey, reserve_port, running_valkey, valkey

# Commands


async def test_commands_go_to_the_server_and_are_counted(client: RedisClient) -> None:
    before = client.commands
    assert await client.call("k", "SET", "k", "1") == b"OK"
    assert await client.call("k", "GET", "k") == b"1"
    assert client.commands - before == 2


async def test_an_error_of_the_server_is_unavailable_with_its_reason(client: RedisClient) -> None:
    await client.call("k", "SET", "k", "1")
    with pytest.raises(Unavailable, match="Redis refuses: WRONGTYPE"):
        await client.call("k", "HGET", "k", "f")


async def test_a_script_missing_on_the_server_is_sent_again(server: Valkey, client: RedisClient) -> None:
    server.command("SCRIPT", "FLUSH")
    replies = await asyncio.gather(*(client.run_script(BEAT, ("nodes",), f"n{n}", 5_000) for n in range(50)))
    assert len(replies) == 50
    assert server.command("SCRIPT", "EXISTS", BEAT.digest) == [True]
    assert server.command("ZCARD", "nodes") == 50


async def test_the_reply_of_a_script_sent_again_is_passed_on_once(server: Valkey, client: RedisClient) -> None:
    server.command("SCRIPT", "FLUSH")
    seen: list[int] = []
    keys = ("nodes",)

    async def beat(n: int) -> None:
        await client.run_script(BEAT, keys, f"n{n}", 5_000, on_reply=lambda reply: seen.append(n))

    await asyncio.gather(*map(beat, range(5)))
    assert seen == [0, 1, 2, 3, 4]
    await beat(5)
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_the_reply_of_a_script_is_shown_in_its_place_among_what_is_published(
    server: Valkey, client: RedisClient
) -> None:
    """A connection receives what its own script publishes after the reply of the script."""
    ear = Ear(client)
    await subscribed(client, "c")
    script = Script("redis.call('PUBLISH', KEYS[1], ARGV[1]) return ARGV[1]")
    waiting = [
        client.run_script(script, ("c",), f"{n}", on_reply=lambda reply: ear.heard.append(b"reply " + reply))
        for n in range(100)
    ]
    await asyncio.gather(*waiting)
    assert ear.heard == [text for n in range(100) for text in (b"reply %d" % n, b"%d" % n)]


async def test_a_server_that_became_a_replica_is_left() -> None:
    with running_valkey() as server:
        async with connected(server.url) as client:
            with reserve_port() as nobody:
                server.command("REPLICAOF", "127.0.0.1", nobody.getsockname()[1])
                with pytest.raises(Unavailable, match=r"READONLY|away|lost|aborted"):
                    await client.call("k", "SET", "k", "1")
                await eventually(lambda: not client.is_up)
                with pytest.raises(Unavailable, match="away"):
                    await client.call("k", "SET", "k", "1")
            server.promote()
            await client.wait_until_up(5)
            assert await client.call("k", "SET", "k", "1") == b"OK"
            await eventually(lambda: connections(server) == 1)


async def test_a_server_out_of_memory_refuses_and_the_connection_stays() -> None:
    with running_valkey() as server:
        async with connected(server.url) as client:
            server.command("CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(Unavailable, match="OOM"):
                await client.call("k", "SET", "k", "1")
            server.command("CONFIG", "SET", "maxmemory", 0)
            assert client.is_up
            assert await client.call("k", "SET", "k", "1") == b"OK"


async def test_too_few_replicas_are_unavailable(client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_timeout_s", 0.02)
    await client.call("k", "SET", "k", "1")
    with pytest.raises(Unavailable, match="too few replicas"):
        await client.replicated("k", 1)
    await client.replicated("k", 0)


async def test_a_cancelled_caller_does_not_end_the_wait_of_others_for_replicas(client: RedisClient) -> None:
    one, other = (asyncio.create_task(client.replicated("k", 0)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await other


# Losses


async def test_a_server_that_is_not_there_is_unavailable_until_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with reserve_port() as nobody:
        async with running_proxy(valkey().port) as proxy:
            proxy.refuse()
            client = RedisClient(parse_redis_url(url_of(proxy.port)), name="test")
            async with running(client.run):
                await client.wait_until_up(0.05)
                assert not client.is_up
                with pytest.raises(Unavailable):
                    await client.call("k", "GET", "k")
                await proxy.allow()
                await client.wait_until_up(5)
                assert client.is_up
                await client.call("k", "GET", "k")
        assert nobody
    assert caplog.messages.count(AWAY) == 1


async def test_what_waits_when_the_connection_is_cut_is_unavailable_and_later_things_work(proxy: Proxy) -> None:
    async with connected(url_of(proxy.port)) as client:
        await client.call("k", "SET", "k", "1")
        proxy.stall()
        waiting = asyncio.ensure_future(client.call("k", "GET", "k"))
        await asyncio.sleep(0.01)
        proxy.cut()
        proxy.flow()
        with pytest.raises(Unavailable):
            await waiting
        await client.wait_until_up(5)
        assert await client.call("k", "GET", "k") == b"1"


async def test_a_connection_to_a_silent_server_is_aborted(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(url_of(proxy.port), timeout_s=0.1) as client:
        proxy.stall()
        with pytest.raises(Unavailable, match="aborted"):
            await client.call("k", "GET", "k")
        assert "Redis has not answered for 0.1 s" in caplog.text
        proxy.flow()
        await client.wait_until_up(5)
        assert await client.call("k", "GET", "k") is None


async def test_channels_are_restored_and_reported(server: Valkey, proxy: Proxy) -> None:
    async with connected(url_of(proxy.port)) as client:
        ear = Ear(client)
        for channel in ("a", "b", "ended"):
            await subscribed(client, channel)
        client.subscriptions.unsubscribe("ended")
        proxy.cut()
        await eventually(lambda: "a" not in client.subscriptions)
        assert client.subscriptions.subscribe("late") is None, "there is nobody to wait for"
        await client.wait_until_up(5)
        assert [set(channels) for channels in ear.back] == [{"a", "b", "late"}]
        assert client.subscriptions.subscribe("late") is None
        assert [listeners(server, channel) for channel in ("a", "b", "late", "ended")] == [1, 1, 1, 0]
        assert await client.publish("late", b"x") == 1
        assert ear.heard == [b"x"]


async def test_many_channels_are_subscribed_again(
    server: Valkey, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions_module, "CHANNELS_UNDER_WAY", 1_500)
    async with connected(url_of(proxy.port)) as client:
        await asyncio.gather(*(subscribed(client, f"c{n}") for n in range(4_000)))
        proxy.cut()
        await eventually(lambda: not client.is_up)
        await client.wait_until_up(5)
        await eventually(lambda: all(f"c{n}" in client.subscriptions for n in range(4_000)))
        assert [listeners(server, f"c{n}") for n in (0, 1_999, 3_999)] == [1, 1, 1]


# A connection that cannot be used


async def test_a_user_without_permissions_leaves_no_connections_open() -> None:
    """A connection that may not load the scripts is closed before the next attempt."""
    with running_valkey() as server:
        server.command("ACL", "SETUSER", "half", "on", ">sEcret", "~*", "&*", "+@all", "-script")
        url, scripts = f"redis://half:sEcret@127.0.0.1:{server.port}", [Script("return 1")]
        client = RedisClient(parse_redis_url(url), name="test", scripts=scripts)
        async with running(client.run):
            await client.wait_until_up(0.5)
            assert not client.is_up
            await eventually(lambda: connections(server) <= 1)


async def test_a_server_that_falls_silent_while_it_is_connected_to_is_tried_again(scripted: ScriptedServer) -> None:
    scripted.answers[b"ROLE"] = None
    client = RedisClient(parse_redis_url(scripted.url), name="test", timeout_s=0.1)
    async with running(client.run):
        await client.wait_until_up(0.3)
        assert not client.is_up
        scripted.answers[b"ROLE"] = b"*1\r\n$6\r\nmaster\r\n"
        await client.wait_until_up(5)
        assert client.is_up
        await eventually(lambda: scripted.connections == 1)


async def test_the_end_of_run_ends_the_connections(server: Valkey) -> None:
    async with connected(server.url):
        assert connections(server) == 1
    await eventually(lambda: connections(server) == 0)


async def test_run_may_end_while_it_connects(scripted: ScriptedServer) -> None:
    scripted.answers[b"ROLE"] = None
    client = RedisClient(parse_redis_url(scripted.url), name="test")
    async with running(client.run):
        await eventually(lambda: "ROLE" in scripted.verbs)
    await eventually(lambda: scripted.connections == 0)
