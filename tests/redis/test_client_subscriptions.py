"""Subscriptions of the client, and events between a subscription and its confirmation."""

import asyncio
import logging

import pytest

from app.redis import connection as connection_module
from app.redis.client import RedisClient
from tests.eventually import eventually
from tests.redis.clients import Ear, connected, listeners, subscribed
from tests.valkey import Valkey, running_valkey


async def test_concurrent_subscriptions_share_one_confirmation(server: Valkey, client: RedisClient) -> None:
    one, other = client.subscriptions.subscribe("a"), client.subscriptions.subscribe("a")
    assert one is not None
    assert other is not None
    assert "a" not in client.subscriptions
    await asyncio.gather(one, other)
    assert ("a" in client.subscriptions, listeners(server, "a"), client.subscriptions.subscribe("a")) == (True, 1, None)


async def test_a_cancelled_caller_does_not_end_the_subscription_of_others(client: RedisClient) -> None:
    one, other = asyncio.ensure_future(client.subscriptions.subscribe("a") or None), client.subscriptions.subscribe("a")  # type: ignore[arg-type]
    one.cancel()
    assert other is not None
    await other
    assert "a" in client.subscriptions


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_unsubscribing_before_the_confirmation_ends_the_subscription(
    server: Valkey, client: RedisClient, turns: int
) -> None:
    """Otherwise the server would go on counting this node as a subscriber."""
    pending = client.subscriptions.subscribe("a")
    for _ in range(turns):
        await asyncio.sleep(0)
    client.subscriptions.unsubscribe("a")
    assert pending is not None
    await pending
    await client.call("k", "PING")
    assert ("a" in client.subscriptions, listeners(server, "a")) == (False, 0)


async def test_subscribing_again_during_an_unsubscribe_subscribes(server: Valkey, client: RedisClient) -> None:
    for _ in range(3):
        client.subscriptions.subscribe("a")
        client.subscriptions.unsubscribe("a")
    await subscribed(client, "a")
    await client.call("k", "PING")
    assert ("a" in client.subscriptions, listeners(server, "a")) == (True, 1)


async def test_unsubscribing_an_unknown_channel_is_no_error(client: RedisClient) -> None:
    client.subscriptions.unsubscribe("never")
    assert await client.call("k", "PING") == b"PONG"


async def test_a_subscription_that_the_server_does_not_keep_up_with_comes_later(
    server: Valkey, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(client)
    with monkeypatch.context() as patch:
        patch.setattr(connection_module, "MAX_WAITING", 0)
        assert client.subscriptions.subscribe("a") is None
    await eventually(lambda: ear.back == [["a"]])
    assert ("a" in client.subscriptions, listeners(server, "a")) == (True, 1)


async def test_a_confirmation_that_comes_with_the_loss_of_the_connection_does_not_count(client: RedisClient) -> None:
    """Otherwise it would never be subscribed again."""
    pending = client.subscriptions.subscribe("a")
    assert pending is not None
    (connection,) = client._connections.values()
    done = connection._waiting[-1]
    assert isinstance(done, connection_module._SubscriptionChange)
    done.done.set_result(None)
    connection.abort()
    await pending
    assert "a" not in client.subscriptions
    await client.wait_until_up(5)
    await eventually(lambda: "a" in client.subscriptions)


async def test_a_refused_channel_is_retried_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with running_valkey() as server:
        server.command("ACL", "SETUSER", "half", "on", ">sEcret", "~*", "+@all", "resetchannels")
        async with connected(f"redis://half:sEcret@127.0.0.1:{server.port}") as client:
            with caplog.at_level(logging.WARNING):
                await subscribed(client, "a")
            assert "a" not in client.subscriptions
            assert "NOPERM" in caplog.text
            assert "sEcret" not in caplog.text
            server.command("ACL", "SETUSER", "half", "allchannels")
            await eventually(lambda: "a" in client.subscriptions)
