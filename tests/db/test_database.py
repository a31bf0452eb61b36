import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from app.db.database import ANSWER_TIMEOUT_S, STATEMENT_TIMEOUT_S, Database
from app.db.url import parse_url
from app.errors import ConfigurationError, Unavailable
from tests.databases import migrated_database, postgres

KEY = "INSERT INTO idempotency_key (key, fingerprint, created) VALUES ('a', 'b', 1)"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.aclose()


async def keys(database: Database) -> int:
    async with database.read() as session:
        count: int = (await session.execute(text("SELECT count(*) FROM idempotency_key"))).scalar_one()
    return count


async def store(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(KEY))


def path_of(url: str) -> str:
    return url.removeprefix("sqlite+aiosqlite:///")


@contextmanager
def locked(url: str) -> Iterator[None]:
    """By another writer."""
    other = sqlite3.connect(path_of(url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(KEY))
        assert await keys(database) == 0
    assert await keys(database) == 1


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            await session.execute(text(KEY))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await keys(database) == 0


async def test_what_the_data_is_refused_for_is_not_the_database_being_away(database: Database) -> None:
    async def execute(*statements: str) -> None:
        async with database.transaction() as session:
            for statement in statements:
                await session.execute(text(statement))

    with pytest.raises(IntegrityError):
        await execute(KEY, KEY)
    with pytest.raises(StatementError):
        async with database.transaction() as session:
            await session.execute(text("DELETE FROM idempotency_key WHERE key = :key"), {})


async def test_text_that_postgresql_refuses_is_not_postgresql_being_away() -> None:
    with migrated_database("postgresql") as url:
        async with opened(url) as database:
            with pytest.raises(DBAPIError):
                async with database.transaction() as session:
                    await session.execute(text("DELETE FROM idempotency_key WHERE key = :key"), {"key": "a\0b"})


async def test_without_the_schema_the_service_cannot_and_the_log_says_what_to_do(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(empty_url) as database:
        with pytest.raises(Unavailable):
            await keys(database)
    if "postgresql" in empty_url:
        assert "stomp-notify migrate" in caplog.text


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the usual patience."""
    assert ANSWER_TIMEOUT_S < 5, "what a caller waits at most"
    monkeypatch.setattr("app.db.database.STATEMENT_TIMEOUT_S", STATEMENT_TIMEOUT_S / 10)
    monkeypatch.setattr("app.db.database.ANSWER_TIMEOUT_S", ANSWER_TIMEOUT_S / 10)


@pytest.mark.usefixtures("impatient")
async def test_sqlite_waits_for_another_writer_and_then_says_so() -> None:
    with migrated_database("sqlite") as url:
        started = time.monotonic()
        with locked(url):
            async with opened(url) as database:
                with pytest.raises(Unavailable):
                    await store(database)
                assert time.monotonic() - started + 0.05 > STATEMENT_TIMEOUT_S / 10
                assert await keys(database) == 0  # WAL: readers do not wait


@pytest.mark.usefixtures("impatient")
async def test_those_who_wait_behind_a_waiting_writer_of_sqlite_are_told_in_time() -> None:
    async def refused(database: Database) -> float:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await store(database)
        return time.monotonic() - started

    with migrated_database("sqlite") as url, locked(url):
        async with opened(url) as database:
            took_s = await asyncio.gather(*(refused(database) for _ in range(5)))
    assert max(took_s) < ANSWER_TIMEOUT_S / 10 + 0.1


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_a_writer_of_sqlite_that_is_cancelled_holds_up_no_other(cancellations: int) -> None:
    async def claim(database: Database) -> None:
        async with database.transaction() as session:
            await session.execute(text("UPDATE idempotency_key SET created = 2 RETURNING key"))

    with migrated_database("sqlite") as url:
        async with opened(url) as database:
            await store(database)
            with locked(url):
                cancelled = asyncio.create_task(claim(database))
                await asyncio.sleep(0.1)
                for _ in range(cancellations):
                    cancelled.cancel()
                    await asyncio.sleep(0.02)
            with pytest.raises(asyncio.CancelledError) as kept:  # whoever keeps the error keeps what it met
                await cancelled
            other = sqlite3.connect(path_of(url), timeout=1, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            other.close()
            assert kept.value.__traceback__ is not None
            await claim(database)


async def test_readers_and_writers_of_sqlite_do_not_disturb_each_other() -> None:
    with migrated_database("sqlite") as url:
        async with opened(url) as database:

            async def write(number: int) -> None:
                async with database.transaction() as session:
                    await session.execute(text(KEY.replace("'a'", f"'{number}'")))
                await keys(database)

            await asyncio.gather(*(write(number) for number in range(50)))
            assert await keys(database) == 50
            async with database.read() as session:
                assert (await session.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
                assert (await session.execute(text("PRAGMA synchronous"))).scalar() == 2


@pytest.mark.parametrize(
    "url",
    ["postgresql://postgres@127.0.0.1:1/notify", "postgresql://postgres@no-such-host.invalid/notify"],
)
async def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    async with opened(url) as database:
        with pytest.raises(Unavailable) as refused:
            await keys(database)
        assert refused.value.retry_after_s


async def test_a_server_that_refuses_the_connection_is_unavailable() -> None:
    with migrated_database("postgresql") as url:
        postgres().query(f"ALTER DATABASE {url.rpartition('/')[2]} WITH ALLOW_CONNECTIONS false")
        async with opened(url) as database:
            with pytest.raises(Unavailable):
                await keys(database)


async def test_connections_that_died_are_replaced_without_a_failure() -> None:
    with migrated_database("postgresql") as url:
        async with opened(url) as database:
            await asyncio.gather(*(keys(database) for _ in range(5)))
            name = url.rpartition("/")[2]
            postgres().query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            assert await asyncio.gather(*(keys(database) for _ in range(5))) == [0] * 5


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_hangs_is_given_up_in_time_and_found_again() -> None:
    with migrated_database("postgresql") as url:
        async with opened(url) as database:

            async def refused(number: int) -> None:
                with pytest.raises(Unavailable):
                    await (keys(database) if number % 2 else store(database))

            await asyncio.gather(*(keys(database) for _ in range(3)))
            postgres().freeze()
            started = time.monotonic()
            try:
                await asyncio.gather(*(refused(number) for number in range(14)))  # more than the pool has
                took_s = time.monotonic() - started
            finally:
                postgres().thaw()
            assert took_s < ANSWER_TIMEOUT_S / 10 + 0.5
            await asyncio.sleep(0.1)
            assert await keys(database) in (0, 1)


# DATABASE_URL


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?sslmode=require"),
    ],
)
def test_the_driver_need_not_be_named(given: str, understood: str) -> None:
    assert parse_url(given).render_as_string(hide_password=False) == understood


async def test_sslmode_means_what_it_means_everywhere() -> None:
    with migrated_database("postgresql") as url:
        async with opened(f"{url}?sslmode=disable") as database:
            assert await keys(database) == 0
        async with opened(f"{url}?sslmode=require") as database:
            with pytest.raises(Unavailable):  # this server has no certificate
                await keys(database)


@pytest.mark.parametrize("url", ["", "x", "mysql://h/d", "postgresql+psycopg://h/d", "sqlite:////no/such/folder/x.db"])
def test_a_url_of_another_kind_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        Database(url)
