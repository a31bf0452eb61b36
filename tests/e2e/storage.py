"""The databases of the tests of persistence, and the service on top of them."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from tests.client import StompClient
from tests.postgres import Postgres

T = TypeVar("T")

PUSH = "/vh-stomp-wsend"
STORE = PUSH + "/cluster/notify"
DEADLINE_S = 15.0


class Storage(Protocol):
    """A database that a test may look into while services use it."""

    name: str

    @property
    def env(self) -> dict[str, str]:
        """The settings that make a service use it."""

    def query(self, sql: str) -> list[list[str]]:
        """The rows as text; NULL is the empty string."""


class SqliteStorage:
    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def env(self) -> dict[str, str]:
        return {"DATABASE_URL": f"sqlite+aiosqlite:///{self.path}"}

    def query(self, sql: str) -> list[list[str]]:
        connection = sqlite3.connect(self.path, timeout=DEADLINE_S)
        try:
            rows = connection.execute(sql).fetchall()
        finally:
            connection.close()
        return [["" if value is None else str(value) for value in row] for row in rows]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """By another connection, as a backup or a shell left open does it."""
        connection = sqlite3.connect(self.path, timeout=DEADLINE_S, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()


class PostgresStorage:
    """A database of its own, empty at first."""

    name = "postgresql"

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.database = postgres.create_database()

    @property
    def env(self) -> dict[str, str]:
        return {"DATABASE_URL": self.postgres.url(self.database), "AUTO_MIGRATE": "true"}

    def query(self, sql: str) -> list[list[str]]:
        return self.postgres.query(sql, self.database)


@asynccontextmanager
async def http_client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        yield http


async def store(http: httpx.AsyncClient, receiver: str, text: str = "hello", **headers: str) -> str:
    """The id of a message that is in the database now."""
    answer = await http.post(f"{STORE}/{receiver}", content=text, headers=headers)
    assert answer.status_code == 200, answer.text
    message_id: str = answer.json()["id"]
    return message_id


async def history(http: httpx.AsyncClient, user: str, **query: str) -> dict[str, Any]:
    answer = await http.get("/api/notify/history", params=query, headers=token(user))
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def token(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {user}"}


async def next_message(client: StompClient, type: str = "STRING_MSG") -> tuple[dict[str, Any], bool]:
    """The next of this type, and whether it says that it is not sent for the first time."""
    while True:
        frame = await client.expect("MESSAGE")
        message: dict[str, Any] = json.loads(frame.body)
        if message.get("type") == type:
            return message, frame.headers.get("redelivered") == "true"


def delivered(storage: Storage, message_id: str) -> bool:
    [[delivered_at]] = storage.query(f"SELECT delivered_at FROM notify_log WHERE id = '{message_id}'")
    return delivered_at != ""


async def eventually(read: Callable[[], T | Awaitable[T]], wanted: Callable[[T], bool] = bool) -> T:
    """Reads until the value is wanted; the error shows the value that was not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while True:
        value = read()
        if isinstance(value, Awaitable):
            value = await value
        if wanted(value):
            return value
        assert loop.time() < deadline, f"not in {DEADLINE_S} s, at last: {value}"
        await asyncio.sleep(0.05)
