"""The schema comes from Alembic's migrations alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from app.db.database import STATEMENT_TIMEOUT_S, Database
from app.db.engines import postgres_engine, sqlite_engine
from app.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

SQLITE_PATIENCE_S = 60
LOCK_KEY = 0x73746F6D70  # of pg_advisory_xact_lock: nodes that start together migrate one after another


def alembic_config() -> "Config":
    """Of the checkout, or of what the package was installed with."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_scripts()))
    return config


def _scripts() -> Path:
    here = Path(__file__).resolve()
    installed = here.parent.parent / "_alembic"
    return installed if installed.exists() else here.parents[2] / "alembic"


async def migrate(database: Database, revision: str = "head") -> None:
    """Up or down to `revision`, however long it takes. Raises ConfigurationError, with one line that says why."""
    connection = _engine(database).connect()
    with _failures_named(Exception):  # a driver raises anything for options that it cannot use
        await connection.start()
    try:
        with _failures_named(SQLAlchemyError, OSError):
            async with connection.begin():  # processes that start together migrate one by one
                if database.is_sqlite:
                    await connection.execute(text("BEGIN IMMEDIATE"))
                else:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
                await connection.run_sync(_run, revision)
    finally:
        await connection.close()


async def migrate_url(url: str) -> None:
    """Raises ConfigurationError, with one line that says why."""
    database = Database(url)
    try:
        await migrate(database)
    finally:
        await database.aclose()


def _engine(database: Database) -> AsyncEngine:
    """An index of a large table, and the wait for the process that makes it, take longer than a request may."""
    if database.is_sqlite:
        return sqlite_engine(database.url, SQLITE_PATIENCE_S, poolclass=NullPool)
    return postgres_engine(database.url, STATEMENT_TIMEOUT_S, {}, poolclass=NullPool)


@contextmanager
def _failures_named(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        cause = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0] or type(error).__name__
        raise ConfigurationError(f"DATABASE_URL: the schema could not be brought up to date: {cause}") from error


def _run(connection: Connection, revision: str) -> None:
    if revision == "head" and _is_current(connection):
        return
    from alembic import command  # takes 120 ms; not needed for a current schema

    config = alembic_config()
    config.attributes["connection"] = connection
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _is_current(connection: Connection) -> bool:
    """Return whether the schema has the newest revision."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == newest_revision()


def newest_revision() -> str:
    """Return the revision of the last migration: file names begin with it, in ascending order."""
    return max(path.name for path in (_scripts() / "versions").glob("[0-9]*.py")).partition("_")[0]
