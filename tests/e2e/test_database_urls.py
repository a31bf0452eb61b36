"""DATABASE_URL as people write it: with options of libpq, behind a pooler, or wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.client import listening
from tests.e2e.storage import (
    PUSH,
    STORE,
    PostgresStorage,
    delivered,
    eventually,
    history,
    http_client,
    next_message,
    store,
    token,
)
from tests.pgbouncer import PgBouncer, running_pgbouncer
from tests.postgres import Postgres, running_postgres
from tests.service import Server, running_server

PUSHES, AT_ONCE = 300, 30


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres) as pgbouncer:
        yield pgbouncer


async def assert_next_session_gets_transient_message(server: Server, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{PUSH}/push_all_obj/test-absent", content="transient")
    assert answer.status_code == 200, answer.text
    async with listening(server.websocket_url, "test-absent") as client:
        message, _ = await next_message(client)
        assert message["data"] == "transient"


async def test_options_of_libpq_cost_no_message(postgres: Postgres) -> None:
    storage = PostgresStorage(postgres)
    options = "application_name=notify&connect_timeout=5&sslmode=prefer&channel_binding=prefer&keepalives=1"
    env = storage.env | {"DATABASE_URL": f"{storage.env['DATABASE_URL']}?{options}"}
    with running_server(**env) as server:
        async with http_client(server.url) as http:
            await assert_next_session_gets_transient_message(server, http)
            message_id = await store(http, "test-here")
            assert [item["id"] for item in (await history(http, "test-here"))["items"]] == [message_id]


@pytest.mark.parametrize("options", ["sslmode=require", "target_session_attrs=standby", "options=-c%20no_such=x"])
async def test_a_database_that_always_refuses_costs_no_transient_message(postgres: Postgres, options: str) -> None:
    url = f"{postgres.url()}?{options}"
    with running_server(DATABASE_URL=url, AUTO_MIGRATE="false") as server:
        async with http_client(server.url) as http:
            assert (await http.post(f"{STORE}/test-here", content="x")).status_code == 503
            assert (await http.get("/api/notify/history", headers=token("test-here"))).status_code == 503
            await assert_next_session_gets_transient_message(server, http)
        assert "the database cannot be used" in server.log()


def run_command(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", command],
        env={"PATH": os.environ["PATH"], "PORT": "0"} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("sslmode=require&channel_binding=require", "channel_binding=require"),
        ("sslmode=verify-full", "sslrootcert"),
        ("connection_limit=1", "connection_limit"),
        ("sslrootcert=/no/such/file&sslmode=require", "sslrootcert"),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused_at_start_by_name(command: str, options: str, named: str) -> None:
    done = run_command(command, DATABASE_URL=f"postgresql://u:very-secret@127.0.0.1:1/d?{options}")
    assert done.returncode == 2
    assert done.stderr.startswith("stomp-notify: DATABASE_URL: ")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "very-secret" not in done.stderr


def test_a_migration_at_start_that_fails_says_why(postgres: Postgres) -> None:
    done = run_command("serve", DATABASE_URL=postgres.url("no_such_database"), AUTO_MIGRATE="true")
    assert done.returncode != 0
    assert "DATABASE_URL: the schema could not be brought up to date" in done.stdout + done.stderr


# Behind PgBouncer in transaction mode, which has two connections to the server


async def test_the_service_works_behind_pgbouncer_without_one_failure(postgres: Postgres, pgbouncer: PgBouncer) -> None:
    storage = PostgresStorage(postgres)
    env = {"DATABASE_URL": pgbouncer.url(storage.database, pgbouncer="true"), "AUTO_MIGRATE": "true"}
    settings = {"RECOVERY_GRACE_MS": "500", "RECOVERY_INTERVAL_MS": "200", "INBOX_MAX_MESSAGES": "1000"}
    with running_server(**env, **settings) as one, running_server(**env, **settings) as other:
        async with http_client(one.url) as http, http_client(other.url) as second:
            ids = await store_many([http, second])
            await assert_all_are_served(http, one, ids)
            await assert_recovery(storage, one)
        for server in (one, other):
            assert "cannot be used" not in server.log()
            assert "statement" not in server.log()


async def store_many(clients: list[httpx.AsyncClient]) -> list[str]:
    """By many callers at once, with other uses of the database in between. All answers are 200."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> str:
        http = clients[number % len(clients)]
        async with gate:
            key = {"Idempotency-Key": f"key-{number}"} if number % 3 == 0 else {}
            message_id = await store(http, "test-away", f"text {number}", **key)
            await history(http, "test-away")
            for path in ("/api/notify/unread_count", f"{PUSH}/push_status/{message_id}"):
                assert (await http.get(path, headers=token("test-away"))).status_code == 200
        return message_id

    return list(await asyncio.gather(*(one(number) for number in range(PUSHES))))


async def assert_all_are_served(http: httpx.AsyncClient, server: Server, ids: list[str]) -> None:
    """The receiver gets and acknowledges them all, reads one and deletes one."""
    received: set[str] = set()
    async with listening(server.websocket_url, "test-away") as client:
        while len(received) < len(ids):
            message, _ = await next_message(client)
            received.add(message["id"])
            await client.ack(message["id"])
    assert received == set(ids)
    viewed = await http.post("/api/notify/viewed", json={"ids": ids[:1]}, headers=token("test-away"))
    gone = await http.request("DELETE", "/api/notify/delete", json={"ids": ids[1:2]}, headers=token("test-away"))
    assert (viewed.status_code, gone.status_code) == (200, 200)


async def assert_recovery(storage: PostgresStorage, server: Server) -> None:
    """A row that nobody pushed is pushed."""
    storage.query(
        "INSERT INTO notify_log (id, type, receiver, data, viewed, created, last_modified, version) VALUES"
        " ('forgotten', 'STRING_MSG', 'test-other', '\"x\"', false, (extract(epoch FROM now()) * 1000)::bigint, 0, 0)"
    )
    async with listening(server.websocket_url, "test-other") as client:
        message, _ = await next_message(client)
        await client.ack(message["id"])
    await eventually(lambda: delivered(storage, "forgotten"))
    assert storage.query("SELECT count(*) FROM notify_log WHERE pushed_at IS NULL") == [["0"]]
