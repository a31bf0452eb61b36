"""Real databases for tests: SQLite, and one PostgreSQL that starts at its first use and ends with the test run.

The schema comes from the migrations, once for each kind; every test gets a copy of its own.
"""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from app.db.migrations import migrate_url
from tests.postgres import Postgres, running_postgres

T = TypeVar("T")
Kind = Literal["sqlite", "postgresql"]

KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")

_until_exit = ExitStack()
atexit.register(_until_exit.close)


@cache
def postgres() -> Postgres:
    return _until_exit.enter_context(running_postgres())


@contextmanager
def empty_database(kind: Kind) -> Iterator[str]:
    """The URL of a database without a schema."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="stomp-notify-") as directory:
            yield _sqlite_url(directory)
    else:
        yield postgres().url(postgres().create_database())


@contextmanager
def migrated_database(kind: Kind) -> Iterator[str]:
    """The URL of a database with the schema of the migrations and nothing in it."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="stomp-notify-") as directory:
            shutil.copy(_migrated_file(), directory)
            yield _sqlite_url(directory)
    else:
        yield postgres().url(postgres().create_database(_migrated_template()))


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """In an event loop of its own, whatever loop this thread may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _sqlite_url(directory: str) -> str:
    return f"sqlite+aiosqlite:///{directory}/notify.db"


@cache
def _migrated_file() -> Path:
    directory = _until_exit.enter_context(tempfile.TemporaryDirectory(prefix="stomp-notify-"))
    run_apart(migrate_url(_sqlite_url(directory)))
    return Path(directory, "notify.db")


@cache
def _migrated_template() -> str:
    name = postgres().create_database()
    run_apart(migrate_url(postgres().url(name)))
    return name
