"""A lost channel is reported as missed, even if another subscriber has restored it in the meantime."""

import asyncio
from collections.abc import Sequence

from app.redis.address import Host, parse_redis_url
from app.redis.client import RedisClient
from app.redis.connection import Connection
from tests.e2e.backend import eventually
from tests.proxy import running_proxy
from tests.valkey import running_valkey

TIMEOUT_S = 0.5


class TwoServers:
    """A topology with two servers, one of them for keys that begin with `far`."""

    channel_verbs = ("SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH")
    channels_at_once = 1

    def __init__(self, near: Host, far: Host) -> None:
        self.hosts: Sequence[Host] = (near, far)

    async def discover(self, connections: Sequence[Connection]) -> None:
        """Do nothing: the hosts never change."""

    def host_of(self, key: str) -> Host:
        return self.hosts[key.startswith("far")]


async def test_a_channel_restored_by_another_subscriber_is_reported_as_missed() -> None:
    with running_valkey() as redis:
        async with running_proxy(redis.port) as near, running_proxy(redis.port) as far:
            client = RedisClient(parse_redis_url(redis.url), name="test", timeout_s=TIMEOUT_S)
            client._topology = TwoServers(("127.0.0.1", near.port), ("127.0.0.1", far.port))
            told: list[str] = []
            client.on_up(told.extend)
            client.subscriptions.subscribe("near")

            async def is_subscribed() -> bool:
                return "near" in client.subscriptions

            running = asyncio.create_task(client.run())
            try:
                await eventually(is_subscribed, lambda now: now)
                far.stall()
                await asyncio.sleep(2 * TIMEOUT_S)  # the connection is aborted and retried
                told.clear()
                near.cut()
                await eventually(is_subscribed, lambda now: not now)
                waiting = client.subscriptions.subscribe(
                    "near"
                )  # fails until the server is back, which it is before `far`
                while waiting is None and "near" not in client.subscriptions:
                    await asyncio.sleep(0.001)
                    waiting = client.subscriptions.subscribe("near")
                if waiting is not None:
                    await waiting

                async def tidings() -> list[str]:
                    return told

                await eventually(tidings, lambda channels: channels == ["near"], 10 * TIMEOUT_S)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
