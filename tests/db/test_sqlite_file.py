"""A SQLite file that is deleted or replaced while the service has it open."""

import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db.database import CommitUncertain, Database
from app.errors import Unavailable
from tests.databases import empty_database, migrated_database

STORE = "INSERT INTO idempotency_key (key, fingerprint, created) VALUES (:key, 'b', 1)"


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    with migrated_database("sqlite") as url:
        database = Database(url)
        await store(database, "first")
        yield database
        await database.aclose()


@pytest.fixture
def path(database: Database) -> Path:
    return Path(database.url.database or "")


async def keys(database: Database) -> list[str]:
    async with database.read() as session:
        return list((await session.execute(text("SELECT key FROM idempotency_key ORDER BY key"))).scalars())


async def store(database: Database, key: str, then: Callable[[], object] = lambda: None) -> None:
    async with database.transaction() as session:
        await session.execute(text(STORE), {"key": key})
        then()


async def assert_unavailable(database: Database) -> None:
    with pytest.raises(Unavailable, match="the database file") as refused:
        await keys(database)
    assert refused.value.retry_after_s
    with pytest.raises(Unavailable, match="the database file") as refused:
        await store(database, "lost")
    assert not isinstance(refused.value, CommitUncertain)
    with pytest.raises(Unavailable, match="the database file"):
        database.require_file()


async def test_a_deleted_file_is_noticed_and_not_made_again(database: Database, path: Path) -> None:
    os.remove(path)
    await assert_unavailable(database)
    assert "notify.db" not in os.listdir(path.parent)


async def test_everything_goes_on_when_the_file_is_put_back(database: Database, path: Path) -> None:
    aside = path.with_name("aside")
    os.rename(path, aside)
    await assert_unavailable(database)
    os.rename(aside, path)
    database.require_file()
    await store(database, "second")
    assert await keys(database) == ["first", "second"]
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM idempotency_key").fetchone() == (2,)
    other.close()


async def test_another_file_in_its_place_is_left_alone(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.rename(path, path.with_name("aside"))
    os.mknod(path)
    await assert_unavailable(database)
    assert os.stat(path).st_size == 0
    assert "replaced" in caplog.text
    assert str(path) in caplog.text


async def test_the_log_says_once_that_it_went_and_once_that_it_came_back(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.db")
    aside = path.with_name("aside")
    os.rename(path, aside)
    for _ in range(3):
        await assert_unavailable(database)
    os.rename(aside, path)
    await keys(database)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_commit_into_a_file_that_has_just_gone_is_uncertain(database: Database, path: Path) -> None:
    aside = path.with_name("aside")
    with pytest.raises(CommitUncertain):
        await store(database, "second", lambda: os.rename(path, aside))
    os.rename(aside, path)
    assert await keys(database) == ["first", "second"]


async def test_a_file_that_is_made_after_the_start_is_taken() -> None:
    with empty_database("sqlite") as url, migrated_database("sqlite") as ready:
        database = Database(url)
        with pytest.raises(Unavailable, match="missing"):
            await keys(database)
        shutil.copy(ready.removeprefix("sqlite+aiosqlite:///"), database.url.database or "")
        assert await keys(database) == []
        await database.aclose()


async def test_a_relative_path_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with migrated_database("sqlite") as url:
        monkeypatch.chdir(Path(url.removeprefix("sqlite+aiosqlite:///")).parent)
        database = Database("sqlite:///./notify.db")
        await store(database, "first")
        os.remove("notify.db")
        await assert_unavailable(database)
        await database.aclose()
