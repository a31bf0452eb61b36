"""The database goes away under load and comes back: who persists is told so in time, nobody else is disturbed."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.client import StompClient, listening
from tests.e2e.storage import (
    PUSH,
    STORE,
    PostgresStorage,
    SqliteStorage,
    Storage,
    eventually,
    http_client,
    next_message,
    store,
    token,
)
from tests.postgres import Postgres, running_postgres
from tests.service import Server, running_server

SETTINGS = {
    "INBOX_MAX_MESSAGES": "5000",
    "RECOVERY_GRACE_MS": "6000",
    "RECOVERY_INTERVAL_MS": "1000",
    "LOG_ACK_EVENTS": "false",
}
MIGRATE = "stomp-notify migrate"
ANSWER_S = 6.5  # 5 s, and what a busy machine and this client add
NORMAL_S = 2.0
PUBLISHERS = 8
PAUSE_S = 0.05


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def on_postgres(postgres: Postgres) -> Iterator[tuple[Server, Storage]]:
    storage = PostgresStorage(postgres)
    with running_server(**storage.env, **SETTINGS) as server:
        yield server, storage


@dataclass
class Load:
    """Pushes going on all the time. Answers as (status, seconds); ids that were accepted, by what became of them."""

    http: httpx.AsyncClient
    stored: list[tuple[int, float]] = field(default_factory=list)
    transient: list[tuple[int, float]] = field(default_factory=list)
    accepted: dict[str, set[str]] = field(default_factory=lambda: {"here": set(), "away": set(), "transient": set()})
    running: bool = True

    async def store(self) -> None:
        """For one who is there and one who is away, in turn."""
        for receiver in itertools.cycle(("here", "away")):
            if not self.running:
                return
            answer = await self._push(f"{STORE}/test-{receiver}", receiver, self.stored)
            if answer.status_code != 200:
                assert_unavailable(answer)
            await asyncio.sleep(PAUSE_S)

    async def push(self) -> None:
        while self.running:
            answer = await self._push(f"{PUSH}/push_all_obj/test-here", "transient", self.transient)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(PAUSE_S)

    async def _push(self, path: str, kind: str, answers: list[tuple[int, float]]) -> httpx.Response:
        start_s = time.monotonic()
        answer = await self.http.post(path, content="load")
        answers.append((answer.status_code, time.monotonic() - start_s))
        if answer.status_code == 200:
            self.accepted[kind].add(answer.json()["id"])
        return answer

    def count(self, status: int) -> int:
        """Answers to those who store."""
        return sum(answer == status for answer, _ in self.stored)


def assert_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


async def take(client: StompClient, received: set[str]) -> None:
    """Acknowledges all that comes."""
    while True:
        message_id = (await client.expect("MESSAGE", timeout_s=60)).headers["message-id"]
        received.add(message_id)
        await client.ack(message_id)


@asynccontextmanager
async def receiving(server: Server, user: str) -> AsyncIterator[set[str]]:
    """The ids of what came so far."""
    received: set[str] = set()
    async with listening(server.websocket_url, user) as client, asyncio.TaskGroup() as group:
        task = group.create_task(take(client, received))
        yield received
        task.cancel()


@asynccontextmanager
async def under_load(server: Server) -> AsyncIterator[Load]:
    async with http_client(server.url) as http, asyncio.TaskGroup() as group:
        load = Load(http)
        for _ in range(PUBLISHERS):
            group.create_task(load.store())
        group.create_task(load.push())
        yield load
        load.running = False


async def ride_out(
    server: Server,
    storage: Storage,
    fault: AbstractContextManager[None],
    *,
    readable: bool = False,
    newcomer_s: float = NORMAL_S,
) -> None:
    """`readable`: the fault keeps nobody from reading. `newcomer_s`: so long may one wait who connects meanwhile."""
    async with receiving(server, "test-here") as received:
        async with under_load(server) as load:
            await eventually(lambda: load.count(200), lambda count: count > 50)
            with fault:
                calm = len(load.transient)
                await asyncio.gather(
                    assert_history(load.http, 200 if readable else 503),
                    assert_newcomer_is_served(server, load.http, newcomer_s),
                )
                await eventually(lambda: load.count(503), lambda count: count >= PUBLISHERS)
                await eventually(lambda: len(load.transient), lambda count: count > calm + 20)
            accepted = load.count(200)
            await eventually(lambda: load.count(200), lambda count: count > accepted + 50)
            await assert_history(load.http, 200)
        assert max(seconds for _, seconds in load.stored) < ANSWER_S
        assert max(seconds for _, seconds in load.transient) < NORMAL_S
        expected = load.accepted["here"] | load.accepted["transient"]
        await eventually(lambda: expected - received, lambda missing: not missing)
    async with receiving(server, "test-away") as received_later:
        await eventually(lambda: load.accepted["away"] - received_later, lambda missing: not missing)
    ids = load.accepted["here"] | load.accepted["away"]
    delivered = "SELECT id FROM notify_log WHERE delivered_at IS NOT NULL AND pushed_at IS NOT NULL"
    await eventually(lambda: ids - {row[0] for row in storage.query(delivered)}, lambda missing: not missing)


async def assert_history(http: httpx.AsyncClient, status: int) -> None:
    start_s = time.monotonic()
    answer = await http.get("/api/notify/history", headers=token("test-here"))
    assert time.monotonic() - start_s < ANSWER_S
    assert answer.status_code == status, answer.text
    if status != 200:
        assert_unavailable(answer)


async def assert_newcomer_is_served(server: Server, http: httpx.AsyncClient, patience_s: float) -> None:
    """Who connects now gets what is pushed now."""
    async with listening(server.websocket_url, "test-new") as client:
        for text in ("first", "second"):
            await http.post(f"{PUSH}/push_all_obj/test-new", content=text)
            async with asyncio.timeout(patience_s):
                message, _ = await next_message(client)
            assert message["data"] == text
            await client.ack(message["id"])


async def test_locked_sqlite_keeps_nobody_but_writers_waiting(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "notify.db")
    with running_server(**storage.env, **SETTINGS) as server:
        await ride_out(server, storage, storage.locked(), readable=True)


async def test_postgresql_that_refuses_connections_keeps_nobody_waiting(
    postgres: Postgres, on_postgres: tuple[Server, Storage]
) -> None:
    await ride_out(*on_postgres, stopped(postgres))


async def test_postgresql_that_is_frozen_keeps_nobody_but_those_who_need_it_waiting(
    postgres: Postgres, on_postgres: tuple[Server, Storage]
) -> None:
    # A newcomer's messages wait a second for the older ones that the database may have for him.
    await ride_out(*on_postgres, frozen(postgres), newcomer_s=3.0)


@contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    """Connections are cut, new ones refused."""
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def frozen(postgres: Postgres) -> Iterator[None]:
    postgres.freeze()
    try:
        yield
    finally:
        postgres.thaw()


async def test_nodes_that_start_together_on_an_empty_database_both_come_up(postgres: Postgres) -> None:
    storage = PostgresStorage(postgres)
    with ExitStack() as stack:
        servers = [Server(storage.env), Server(storage.env)]
        for server in servers:
            stack.callback(server.close)
        for server in servers:
            server.wait_until_ready()
            async with http_client(server.url) as http:
                await store(http, "test-migrated")
        assert storage.query("SELECT count(*) FROM alembic_version") == [["1"]]
        assert storage.query("SELECT count(*) FROM notify_log") == [["2"]]
        assert not any("Traceback" in server.log() for server in servers)


def test_database_without_a_schema_is_named_in_the_log_and_used_once_it_has_one(postgres: Postgres) -> None:
    storage = PostgresStorage(postgres)
    env = storage.env | {"AUTO_MIGRATE": "false", "RECOVERY_INTERVAL_MS": "600000"}
    path = f"{STORE}/test-schema"
    with ExitStack() as stack:
        with stopped(postgres):  # it is not needed for the start
            server = stack.enter_context(running_server(**env))
            http = stack.enter_context(httpx.Client(base_url=server.url, timeout=30))
            assert_unavailable(http.post(path, content="hello"))
            assert MIGRATE not in server.log()
        for _ in range(3):
            assert_unavailable(http.post(path, content="hello"))
        assert 1 <= sum(MIGRATE in line for line in server.log().splitlines()) <= 3

        subprocess.run([sys.executable, "-m", "app", "migrate"], env=os.environ | env, check=True)

        assert http.post(path, content="hello").status_code == 200


def test_service_ends_in_order_while_its_database_is_frozen(postgres: Postgres) -> None:
    storage = PostgresStorage(postgres)
    with running_server(**storage.env, RECOVERY_INTERVAL_MS="200") as server, frozen(postgres):
        time.sleep(0.5)  # a look for what was forgotten is under way

        assert server.stop() == 0
        assert "Traceback" not in server.log()
        assert "never retrieved" not in server.log()
