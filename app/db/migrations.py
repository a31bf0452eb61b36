"""The schema comes from Alembic's migrations alone."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.db.database import STATEMENT_TIMEOUT_S, Database, sqlite_engine
from app.errors import ConfigurationError

SQLITE_PATIENCE_S = 60
LOCK_KEY = 0x73746F6D70  # of pg_advisory_xact_lock: nodes that start together migrate one after another


def alembic_config() -> Config:
    """Of the checkout, or of what the package was installed with."""
    here = Path(__file__).resolve()
    installed = here.parent.parent / "_alembic"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.exists() else here.parents[2] / "alembic"))
    return config


async def migrate(database: Database, revision: str = "head") -> None:
    """Up or down to `revision`, however long it takes. Raises what the database raises."""
    # An index of a large table, and the wait for the process that makes it, take longer than a request may.
    if database.is_sqlite:
        engine = sqlite_engine(database.url, SQLITE_PATIENCE_S, poolclass=NullPool)
    else:
        engine = create_async_engine(database.url, poolclass=NullPool, connect_args={"timeout": STATEMENT_TIMEOUT_S})
    async with engine.begin() as connection:  # processes that start together migrate one by one
        if database.is_sqlite:
            await connection.execute(text("BEGIN IMMEDIATE"))
        else:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        await connection.run_sync(_run, revision)


async def migrate_url(url: str) -> None:
    """Raises ConfigurationError, with one line that says why."""
    database = Database(url)
    try:
        await migrate(database)
    except (SQLAlchemyError, OSError) as error:
        cause = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0] or type(error).__name__
        raise ConfigurationError(f"DATABASE_URL: the schema could not be brought up to date: {cause}") from error
    finally:
        await database.aclose()


def _run(connection: Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
