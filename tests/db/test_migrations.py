import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlmodel import SQLModel
from typer.testing import CliRunner, Result

from app.cli.commands import cli
from app.db.database import Database
from app.db.migrations import LOCK_KEY, alembic_config, migrate, migrate_url, newest_revision
from app.errors import ConfigurationError
from app.notifications import tables
from tests.databases import empty_database, postgres, run_apart

ROOT = Path(__file__).resolve().parents[2]
DESIGNED = {
    "id", "type", "receiver", "data", "viewed", "created", "last_modified", "version", "pushed_at", "delivered_at",
    "seq", "sent",
}  # fmt: skip

assert tables, "the import fills the metadata"


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    database = Database(empty_url)
    yield database
    await database.aclose()


async def table_names(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, SQLModel.metadata))


async def test_the_migrated_schema_is_that_of_the_models(empty: Database) -> None:
    await migrate(empty)
    async with empty.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_table_has_the_columns_and_the_index_of_the_design(empty: Database) -> None:
    await migrate(empty)
    async with empty.engine.connect() as connection:
        columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("notify_log"))
        indexes = await connection.run_sync(lambda sync: inspect(sync).get_indexes("notify_log"))
    assert {column["name"] for column in columns} == DESIGNED
    assert ["receiver", "viewed", "created"] in [index["column_names"] for index in indexes]


async def test_migrations_go_up_and_down_and_up_again(empty: Database) -> None:
    await migrate(empty)
    assert await table_names(empty) == {"notify_log", "unread_count", "idempotency_key", "alembic_version"}
    await migrate(empty, "base")
    assert await table_names(empty) == {"alembic_version"}
    await migrate(empty)
    await migrate(empty)
    assert "notify_log" in await table_names(empty)


async def test_nodes_that_start_together_migrate_once() -> None:
    with empty_database("postgresql") as url:
        await asyncio.gather(*(migrate_url(url) for _ in range(6)))
        name = url.rpartition("/")[2]
        head = ScriptDirectory.from_config(alembic_config()).get_current_head()
        assert postgres().query("SELECT version_num FROM alembic_version", name) == [[head]]


async def test_a_node_waits_for_a_migration_that_takes_longer_than_a_request_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.db.database.STATEMENT_TIMEOUT_S", 0.5)
    with empty_database("postgresql") as url:
        database, other = Database(url), Database(url)
        async with other.engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
            migration = asyncio.create_task(migrate(database))
            await asyncio.sleep(1.2)
            assert not migration.done()
        await migration
        assert "notify_log" in await table_names(database)
        await database.aclose()
        await other.aclose()


# The command


def migrate_command(url: str) -> Result:
    return run_apart(asyncio.to_thread(CliRunner().invoke, cli, ["migrate"], env={"DATABASE_URL": url}))


async def test_the_command_migrates(empty: Database, empty_url: str) -> None:
    done = migrate_command(empty_url)
    assert (done.exit_code, done.output) == (0, "")
    assert "notify_log" in await table_names(empty)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:very-secret@127.0.0.1:1/notify",
        "sqlite+aiosqlite:////no/such/directory/notify.db",
        "mysql://127.0.0.1/notify",
        "nonsense",
    ],
)
def test_the_command_says_in_one_line_why_it_cannot(url: str) -> None:
    done = migrate_command(url)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("stomp-notify: DATABASE_URL")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "very-secret" not in done.stderr


async def test_what_the_database_says_is_one_line_too() -> None:
    with pytest.raises(ConfigurationError, match="does not exist") as refused:
        await migrate_url(postgres().url("no_such_database"))
    assert "\n" not in str(refused.value)


def test_alembic_itself_migrates_what_database_url_says() -> None:
    with empty_database("postgresql") as url:
        given = f"{url}?sslmode=disable&connect_timeout=5&application_name=x"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": given}
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert postgres().query("SELECT count(*) FROM notify_log", url.rpartition("/")[2]) == [["0"]]


def test_the_name_of_the_last_migration_begins_with_the_newest_revision() -> None:
    """A start compares the schema with that, and loads Alembic only if they differ."""
    script = ScriptDirectory.from_config(alembic_config())
    assert script.get_current_head() == newest_revision()
