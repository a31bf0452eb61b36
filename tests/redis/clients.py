"""Redis clients, and what the server reports of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.redis.address import parse_redis_url
from app.redis.client import RedisClient
from tests.nodes import running
from tests.valkey import Valkey


class Ear:
    def __init__(self, client: RedisClient) -> None:
        self.heard: list[bytes] = []
        self.back: list[Sequence[str]] = []
        client.listen(lambda channel, payload: self.heard.append(payload))
        client.on_up(self.back.append)


@asynccontextmanager
async def connected(url: str, *, timeout_s: float = 3.0) -> AsyncIterator[RedisClient]:
    client = RedisClient(parse_redis_url(url), name="test", timeout_s=timeout_s)
    async with running(client.run):
        await client.wait_until_up(5)
        yield client


async def subscribed(client: RedisClient, channel: str) -> None:
    if (pending := client.subscriptions.subscribe(channel)) is not None:
        await pending


def listeners(server: Valkey, channel: str) -> int:
    return int(server.command("PUBSUB", "NUMSUB", channel)[1])


def connections(server: Valkey) -> int:
    return sum("name=test " in line for line in str(server.command("CLIENT", "LIST")).splitlines())


def url_of(port: int) -> str:
    return f"redis://127.0.0.1:{port}"
