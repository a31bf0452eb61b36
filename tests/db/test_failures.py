"""Whatever a driver raises, a caller is told that the database is not available."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import CommitUncertain, Database
from app.db.failures import Failures
from app.errors import IdConflict, Unavailable
from tests.databases import Kind, migrated_database, postgres
from tests.db.scripted import DRIVER_ERRORS, ScriptedDriver, name_of

KEY = "INSERT INTO idempotency_key (key, fingerprint, created) VALUES ('a', 'b', 1)"


async def count(database: Database) -> int:
    async with database.read() as session:
        number: int = (await session.execute(text("SELECT count(*) FROM idempotency_key"))).scalar_one()
    return number


async def store(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(KEY))


@pytest.mark.parametrize("error", DRIVER_ERRORS, ids=name_of)
async def test_whatever_a_driver_raises_when_it_connects_is_unavailable(
    database: Database, error: BaseException
) -> None:
    driver = ScriptedDriver(database, "do_connect", error)
    for use in (count, store):
        with pytest.raises(Unavailable) as refused:
            await use(database)
        assert refused.value.retry_after_s
        assert not isinstance(refused.value, CommitUncertain)
    driver.error = None
    await store(database)
    assert await count(database) == 1


@pytest.mark.parametrize("error", DRIVER_ERRORS, ids=name_of)
async def test_whatever_a_driver_raises_at_a_statement_is_unavailable(database: Database, error: BaseException) -> None:
    driver = ScriptedDriver(database, "before_cursor_execute", error)
    for use in (count, store):
        with pytest.raises(Unavailable) as refused:
            await use(database)
        assert not isinstance(refused.value, CommitUncertain)
    driver.error = None
    await store(database)
    assert await count(database) == 1


@pytest.mark.parametrize("error", DRIVER_ERRORS, ids=name_of)
async def test_a_failure_of_the_commit_says_that_nobody_knows(database: Database, error: BaseException) -> None:
    driver = ScriptedDriver(database, "commit", error)
    with pytest.raises(CommitUncertain) as refused:
        await store(database)
    assert refused.value.retry_after_s
    driver.error = None
    await store(database)


def kill_connections(url: str) -> None:
    name = url.rpartition("/")[2]
    postgres().query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def change(database: Database, accident: Callable[[], None], *, statements_after: int = 0) -> None:
    async with database.transaction() as session:
        await session.execute(text(KEY))
        accident()
        for _ in range(statements_after):
            await session.execute(text("SELECT 1"))


async def test_a_connection_that_dies_during_the_commit_leaves_the_outcome_uncertain() -> None:
    with migrated_database("postgresql") as url:
        database = Database(url)
        with pytest.raises(CommitUncertain):
            await change(database, lambda: kill_connections(url))
        await database.aclose()


async def test_a_connection_that_dies_before_the_commit_leaves_no_doubt() -> None:
    with migrated_database("postgresql") as url:
        database = Database(url)
        with pytest.raises(Unavailable) as refused:
            await change(database, lambda: kill_connections(url), statements_after=1)
        assert not isinstance(refused.value, CommitUncertain)
        await database.aclose()


async def test_a_commit_that_hangs_is_given_up_as_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.db.database.STATEMENT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("app.db.database.ANSWER_TIMEOUT_S", 0.45)
    with migrated_database("postgresql") as url:
        database = Database(url)
        await count(database)
        started = time.monotonic()
        try:
            with pytest.raises(CommitUncertain):
                await change(database, postgres().freeze)
            took_s = time.monotonic() - started
        finally:
            postgres().thaw()
        assert took_s < 1.0
        await database.aclose()


# What is no failure of the database


@pytest.mark.parametrize("defect", [TypeError("of our own"), KeyError("x"), IdConflict("another content")], ids=name_of)
async def test_what_a_caller_raises_stays_what_it_is(database: Database, defect: Exception) -> None:
    async def fail(use: Callable[[], AbstractAsyncContextManager[AsyncSession]]) -> None:
        async with use() as session:
            await session.execute(text(KEY))
            raise defect

    for use in (database.read, database.transaction):
        with pytest.raises(type(defect)) as raised:
            await fail(use)
        assert raised.value is defect
    assert await count(database) == 0


async def test_a_caller_that_times_out_by_itself_is_not_told_that_the_database_did(database: Database) -> None:
    async def work() -> None:
        async with database.transaction() as session:
            await session.execute(text(KEY))
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
    assert await count(database) == 0


async def test_a_caller_that_is_cancelled_is_cancelled(database: Database) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as session:
            await session.execute(text(KEY))
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) == 0


async def test_a_number_that_no_column_takes_is_an_error_of_the_data() -> None:
    with migrated_database("postgresql") as url:
        database = Database(url)
        with pytest.raises(DBAPIError):
            async with database.transaction() as session:
                await session.execute(text("UPDATE idempotency_key SET created = :n"), {"n": 2**70})
        await database.aclose()


async def test_a_parameter_that_is_missing_is_an_error_of_the_statement(database: Database) -> None:
    with pytest.raises(StatementError):
        async with database.read() as session:
            await session.execute(text("SELECT :x"), {})


# The log


@pytest.fixture
async def nowhere(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Database]:
    caplog.set_level(logging.INFO, "app.db")
    database = Database("postgresql://postgres:secret@127.0.0.1:1/notify")
    yield database
    await database.aclose()


async def test_the_log_says_once_that_the_database_went_away_and_why(
    nowhere: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with pytest.raises(Unavailable):
            await count(nowhere)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "refused" in record.getMessage() or "Connect call failed" in record.getMessage()
    assert "secret" not in caplog.text


async def test_the_log_says_once_that_it_is_back(
    kind: Kind, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.db")
    driver = ScriptedDriver(database, "before_cursor_execute", ConnectionResetError("gone"))
    with pytest.raises(Unavailable):
        await count(database)
    driver.error = None
    for _ in range(3):
        await count(database)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_an_error_that_no_driver_should_raise_is_in_the_log_with_its_traceback(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ScriptedDriver(database, "before_cursor_execute", AttributeError("'NoneType' object has no attribute 'send'"))
    with pytest.raises(Unavailable):
        await count(database)
    assert "Traceback" in caplog.text
    assert "has no attribute 'send'" in caplog.text


class _FakeDriverError(Exception):
    sqlstate: str | None = None


@pytest.mark.parametrize(
    ("state", "kind", "advice"),
    [
        ("42P05", ProgrammingError, "pgbouncer=true"),
        ("26000", DBAPIError, "pgbouncer=true"),
        ("42P01", ProgrammingError, "stomp-notify migrate"),
    ],
)
async def test_the_log_says_what_to_do_about_a_pooler_and_a_schema(
    state: str, kind: type[DBAPIError], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    cause = _FakeDriverError("prepared statement problem")
    cause.sqlstate = state
    with pytest.raises(Unavailable), Failures().named():
        raise kind("SELECT 1", {}, cause)
    assert advice in caplog.text


async def test_a_missing_table_of_sqlite_is_told_from_a_database_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable), Failures().named():
        raise OperationalError("SELECT 1", {}, Exception("no such table: notify_log"))
    assert "stomp-notify migrate" in caplog.text


async def test_errors_of_asyncpg_that_sqlalchemy_wraps_are_unavailable() -> None:
    with pytest.raises(Unavailable), Failures().named():
        raise DBAPIError("SELECT 1", {}, asyncpg.ConnectionDoesNotExistError("connection was closed"))
