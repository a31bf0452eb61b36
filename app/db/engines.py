"""How connections to the two kinds of databases are made and kept."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db.url import split_options


def sqlite_engine(url: URL, timeout_s: float, **options: Any) -> AsyncEngine:
    """`timeout_s` bounds a writer's wait for another. Raises ConfigurationError."""
    bare, _ = split_options(url)
    engine = create_async_engine(bare, connect_args={"timeout": timeout_s}, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # what was answered 2xx is on the disk, not in a cache
        cursor.close()

    @event.listens_for(engine.sync_engine, "invalidate")
    def release(connection: Any, *_: Any) -> None:
        """A cancelled statement leaves rows unread. Until they are collected as garbage, SQLite keeps the transaction
        of the closed connection open, and all other writers wait.
        """
        with suppress(Exception):
            connection.rollback()

    return engine


def postgres_engine(url: URL, timeout_s: float, arguments: dict[str, Any], **options: Any) -> AsyncEngine:
    """`timeout_s` bounds a connection attempt unless the URL does; `arguments` go to asyncpg.

    Raises ConfigurationError.
    """
    bare, translated = split_options(url)
    engine = create_async_engine(
        bare, connect_args={"timeout": timeout_s} | arguments | dict(translated.arguments), **options
    )
    if translated.socket_options:
        _set_socket_options(engine, translated.socket_options)
    return engine


def _set_socket_options(engine: AsyncEngine, socket_options: Sequence[tuple[int, int, int]]) -> None:
    """asyncpg has no argument for them."""

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        sock = connection.driver_connection._transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            for option in socket_options:
                sock.setsockopt(*option)
