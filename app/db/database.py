"""The engine, and the only two ways to use it: `read`, and `transaction`, the one place that commits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.errors import ConfigurationError, Unavailable

STATEMENT_TIMEOUT_S = 3
ANSWER_TIMEOUT_S = 4.5  # whatever the database does, a caller has his answer by then
RETRY_AFTER_S = 5
POOL_SIZE = 10
DATA_EXCEPTION = "22"  # the class of SQLSTATE

logger = logging.getLogger(__name__)


class Database:
    """Every failure of the database, as opposed to one of the statement, is Unavailable."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises ConfigurationError for a URL of another kind."""
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = sqlite_engine(self.url, STATEMENT_TIMEOUT_S) if self.is_sqlite else _postgres_engine(self.url)
        # SQLite has one writer at a time; who finds it busy sleeps and tries again, and some are never lucky.
        self._writer = asyncio.Lock() if self.is_sqlite else None

    async def aclose(self) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with _failures_named(), AsyncSession(self.engine) as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commits at the end, all or nothing; never one inside another.

        Its first statement should write: SQLite cannot upgrade a reader.
        """
        async with (
            _failures_named(),
            self._turn(),
            AsyncSession(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Waits no longer than leaves time for a statement: what SQLite waits for cannot be given up before."""
        if self._writer is None:
            yield
            return
        async with asyncio.timeout(ANSWER_TIMEOUT_S - STATEMENT_TIMEOUT_S):
            await self._writer.acquire()
        try:
            yield
        finally:
            self._writer.release()


def parse_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ValueError, ArgumentError) as error:
        raise ConfigurationError(f"DATABASE_URL cannot be read: {error}") from None
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
    name = drivers.get(url.drivername, url.drivername)
    if name not in drivers.values():
        raise ConfigurationError(f"DATABASE_URL: {url.drivername} is not supported, sqlite and postgresql are")
    if "sslmode" in url.query:  # libpq's name, which everyone writes; asyncpg takes its values under another
        url = url.update_query_dict({"ssl": url.query["sslmode"]}).difference_update_query(["sslmode"])
    return url.set(drivername=name)


def sqlite_engine(url: URL, timeout_s: float, **options: Any) -> AsyncEngine:
    """`timeout_s`: so long does a writer wait for another. Raises ConfigurationError."""
    if not Path(url.database or "").parent.is_dir():
        raise ConfigurationError(f"DATABASE_URL: there is no directory {Path(url.database or '').parent}")
    engine = create_async_engine(url, connect_args={"timeout": timeout_s}, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # what was answered 2xx is on the disk, not in a cache
        cursor.close()

    @event.listens_for(engine.sync_engine, "invalidate")
    def release(connection: Any, *_: Any) -> None:
        """Who is cancelled amid a statement leaves rows unread: until they are collected as garbage, SQLite would go
        on with the transaction of a connection that was closed, and keep all others from writing.
        """
        with suppress(Exception):
            connection.rollback()

    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=POOL_SIZE,
        pool_timeout=STATEMENT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"timeout": STATEMENT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S},
    )


@asynccontextmanager
async def _failures_named() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except ProgrammingError as error:
        logger.error("the schema does not fit, `stomp-notify migrate` brings it up to date: %s", error.orig)
        raise _unavailable(error) from error
    except (SQLAlchemyError, TimeoutError, OSError) as error:
        if _is_of_the_data(error):  # the caller knows what to make of it
            raise
        raise _unavailable(error) from error


def _is_of_the_data(error: Exception) -> bool:
    """Whether the database would refuse the same again, however well it is."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return isinstance(error, IntegrityError | DataError) or state.startswith(DATA_EXCEPTION)
    return isinstance(error, StatementError)  # it did not get as far as the database


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"the database does not answer ({type(error).__name__})", retry_after_s=RETRY_AFTER_S)
