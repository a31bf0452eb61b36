from collections.abc import AsyncIterator, Iterator

import pytest

from app.redis.client import RedisClient
from tests.proxy import Proxy, running_proxy
from tests.redis.clients import connected
from tests.redis.scripted import ScriptedServer, scripted_server
from tests.valkey import Valkey, fresh_database, valkey


@pytest.fixture
def server() -> Iterator[Valkey]:
    """Return an empty server."""
    with fresh_database():
        yield valkey()


@pytest.fixture
async def client(server: Valkey) -> AsyncIterator[RedisClient]:
    async with connected(server.url) as client:
        yield client


@pytest.fixture
async def proxy(server: Valkey) -> AsyncIterator[Proxy]:
    async with running_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server
