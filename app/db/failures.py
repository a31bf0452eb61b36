"""What a database driver raises, in terms of the service: Unavailable, or an error of the data."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from app.errors import ServiceError, Unavailable

RETRY_AFTER_S = 5
DATA_EXCEPTION = "22"  # the class of SQLSTATE
LOST_STATEMENTS = frozenset({"26000", "42P05"})  # a prepared statement is missing, or there already
POSTGRES_SCHEMA = frozenset({"42P01", "42703"})  # no such table, no such column
SQLITE_SCHEMA = ("no such table", "no such column", "has no column named")
EXPECTED = (SQLAlchemyError, OSError, asyncio.CancelledError)  # TimeoutError is an OSError

logger = logging.getLogger(__name__)


class Failures:
    """The failures of one database: names them for callers and, without repeating itself, in the log."""

    def __init__(self) -> None:
        self._away = False

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turn everything that is raised into Unavailable, except errors of the data and of the service.

        A driver may raise anything: asyncpg a TypeError for an argument, an AttributeError when a connection dies
        between two steps, a CancelledError when it gives up a future of its own. Hence only calls of the driver belong
        in here: a defect of the service would be hidden from its caller, though not from the log.
        """
        try:
            yield
        except (asyncio.CancelledError, Exception) as error:
            if _passes(error):
                raise
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> Unavailable:
        if not isinstance(error, EXPECTED):
            logger.error("the database driver failed in an unexpected way", exc_info=error)
        elif advice := _advice(error):
            logger.error("%s: %s", advice, _cause(error))
        else:
            self.begin(f"{type(error).__name__}: {_cause(error)}")
        return Unavailable(f"the database does not answer ({type(error).__name__})", retry_after_s=RETRY_AFTER_S)

    def begin(self, problem: str) -> None:
        if not self._away:
            self._away = True
            logger.warning("the database cannot be used: %s", problem)

    def end(self) -> None:
        """Called when the database has done something, so it must cost nothing."""
        if self._away:
            self._away = False
            logger.info("the database can be used again")


def _passes(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0  # otherwise this task was not cancelled
    return isinstance(error, ServiceError) or _is_of_the_data(error)


def _is_of_the_data(error: BaseException) -> bool:
    """Whether the statement or its data is at fault, so that a repeat would fail in the same way."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        if isinstance(error, IntegrityError | DataError) or state.startswith(DATA_EXCEPTION):
            return True
        from asyncpg.exceptions import DataError as AsyncpgDataError  # takes 60 ms; not needed on SQLite

        return isinstance(error.driver_exception, AsyncpgDataError)
    return isinstance(error, StatementError)  # it did not get as far as the database


def _advice(error: BaseException) -> str | None:
    if not isinstance(error, DBAPIError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    if state in LOST_STATEMENTS:
        return "a pooler in transaction mode needs ?pgbouncer=true in DATABASE_URL"
    if state in POSTGRES_SCHEMA or any(text in str(error.orig) for text in SQLITE_SCHEMA):
        return "the schema does not fit, `stomp-notify migrate` brings it up to date"
    return None


def _cause(error: BaseException) -> str:
    """One line; the statement and its parameters, which SQLAlchemy adds, are not for the log."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).partition("\n")[0] or "no answer in time"
