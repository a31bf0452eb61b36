"""What a device has acknowledged does not come to it again, also while the database takes no writes."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from tests.client import StompClient, listening
from tests.databases import migrated_database
from tests.e2e.storage import SqliteStorage, http_client, store
from tests.e2e.trio import open_nodes
from tests.service import running_server
from tests.valkey import running_valkey

USER = "test-acknowledged"
WRITES_WAIT_S = 3.0  # longer than a client takes to come back


async def take(client: StompClient, message_id: str) -> None:
    """Receive and acknowledge it."""
    assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
    await client.ack(message_id)


@contextmanager
def writes_waiting(path: Path) -> Iterator[None]:
    """Another program writes to the SQLite file; its readers go on."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@asynccontextmanager
async def table_locked(url: str) -> AsyncIterator[None]:
    """Writers of PostgreSQL wait, readers go on."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE notify_log IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_message_does_not_come_again_while_its_mark_in_sqlite_waits(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "notify.db")
    with running_server(**storage.env, LOG_ACK_EVENTS="false") as server:
        async with listening(server.websocket_url, USER) as client, http_client(server.url) as http:
            message_id = await store(http, USER)
            with writes_waiting(storage.path):
                await take(client, message_id)
                async with listening(server.websocket_url, USER) as again:
                    await again.silent(WRITES_WAIT_S)
        async with listening(server.websocket_url, USER) as late:
            await late.silent(0.5)


async def test_message_does_not_come_again_on_another_node_while_its_mark_in_postgresql_waits() -> None:
    with running_valkey() as redis, migrated_database("postgresql") as url:
        async with (
            open_nodes(redis.url, 2, DATABASE_URL=url, LOG_ACK_EVENTS="false") as (here, there),
            listening(here.websocket_url, USER) as client,
            http_client(here.url) as http,
        ):
            message_id = await store(http, USER)
            async with table_locked(url):
                assert (await client.expect("MESSAGE")).headers["message-id"] == message_id
                await client.send("SEND", {"destination": "/app/ack", "receipt": "r1"}, message_id)
                await client.silent(0.5)  # the RECEIPT promises that the database has it, too
                async with listening(there.websocket_url, USER) as again:
                    await again.silent(WRITES_WAIT_S)
            assert (await client.expect("RECEIPT")).headers["receipt-id"] == "r1"
