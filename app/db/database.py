"""The engine, and the only two ways to use it: `read`, and `transaction`, the one place that commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engines import postgres_engine, sqlite_engine
from app.db.failures import RETRY_AFTER_S, Failures
from app.db.sqlite_file import SqliteFile
from app.db.url import parse_url
from app.errors import Unavailable

STATEMENT_TIMEOUT_S = 3
ANSWER_TIMEOUT_S = 4.5  # whatever the database does, the caller has a response by then
POOL_SIZE = 10


class CommitUncertain(Unavailable):
    """The transaction may have been committed: its COMMIT was sent, and no answer came."""


class Session(AsyncSession):
    """Raises Unavailable for whatever goes wrong in the driver. Errors of a statement's data stay what they are."""

    def __init__(self, database: "Database") -> None:
        super().__init__(database.engine, expire_on_commit=False)
        self._failures = database.failures

    async def execute(self, *args: Any, **options: Any) -> Any:
        with self._failures.named():
            result = await super().execute(*args, **options)
        self._failures.end()
        return result

    async def get(self, *args: Any, **options: Any) -> Any:
        with self._failures.named():
            result = await super().get(*args, **options)
        self._failures.end()
        return result

    async def commit(self) -> None:
        with self._failures.named():
            try:
                await super().commit()
            except BaseException:  # or the next user of the connection might commit it
                await super().invalidate()
                raise

    async def close(self) -> None:
        with self._failures.named():
            await super().close()


class Database:
    """Every failure of the database, as opposed to one of the statement, is Unavailable."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises ConfigurationError for a URL that cannot be used."""
        self.url = parse_url(url)
        self.failures = Failures()
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = sqlite_engine(self.url, STATEMENT_TIMEOUT_S)
        else:
            self.engine = postgres_engine(
                self.url,
                STATEMENT_TIMEOUT_S,
                {"command_timeout": STATEMENT_TIMEOUT_S},
                pool_size=POOL_SIZE,
                pool_timeout=STATEMENT_TIMEOUT_S,
                pool_pre_ping=True,
            )
        self._file = SqliteFile(Path(self.url.database or "")) if self.is_sqlite else None
        # SQLite has one writer at a time; who finds it busy sleeps and tries again, and some are never lucky.
        self._writer = asyncio.Lock() if self.is_sqlite else None

    async def aclose(self) -> None:
        await self.engine.dispose()

    def require_file(self) -> None:
        """Raise Unavailable if the database is a file that is not where it was."""
        found = self._file.problem() if self._file is not None else None
        if found is not None:
            problem, advice = found
            self.failures.begin(f"{problem}: {self.url.database}; {advice}")
            raise Unavailable(problem, retry_after_s=RETRY_AFTER_S)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with self._limited(), Session(self) as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commits at the end, all or nothing; never one inside another. Raises CommitUncertain if that fails.

        Its first statement should write: SQLite cannot upgrade a reader.
        """
        committing = False
        try:
            async with self._limited(), self._turn(), Session(self) as session:
                yield session
                committing = True
                await session.commit()
                self.require_file()
        except Unavailable as error:
            if not committing:
                raise
            raise CommitUncertain(error.detail, retry_after_s=error.retry_after_s) from error

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        self.require_file()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.failures.unavailable(error) from error

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Waits no longer than leaves time for a statement: what SQLite waits for cannot be given up before."""
        if self._writer is None:
            yield
            return
        with self.failures.named():
            async with asyncio.timeout(ANSWER_TIMEOUT_S - STATEMENT_TIMEOUT_S):
                await self._writer.acquire()
        try:
            yield
        finally:
            self._writer.release()
