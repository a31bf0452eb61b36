"""A driver that raises what a test wants, where a real one would."""

import asyncio
import ssl
from typing import Any, Literal

import asyncpg
from sqlalchemy import event

from app.db.database import Database

Moment = Literal["do_connect", "before_cursor_execute", "commit"]

# What asyncpg, aiosqlite and the standard library have been seen to raise, as they raise it: none is a SQLAlchemyError.
DRIVER_ERRORS = (
    TypeError("connect() got an unexpected keyword argument 'application_name'"),
    AttributeError("'NoneType' object has no attribute 'send'"),
    ValueError("no active connection"),
    UnicodeError("label empty or too long"),
    OverflowError("getsockaddrarg: port must be 0-65535."),
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    EOFError("0 bytes read on a total of 8 expected bytes"),
    ssl.SSLError(1, "certificate verify failed"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
    asyncio.InvalidStateError("invalid state"),
    asyncio.CancelledError(),
    asyncpg.InternalClientError("unexpected message type 'D'"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.ProtocolError("cannot switch to state 11"),
    asyncpg.TargetServerAttributeNotMatched("None of the hosts match"),
)


class ScriptedDriver:
    """While `error` is set, the driver of the database raises it at the given moment."""

    def __init__(self, database: Database, moment: Moment, error: BaseException | None = None) -> None:
        self.error = error
        event.listen(database.engine.sync_engine, moment, self._fail)

    def _fail(self, *_: Any) -> None:
        if self.error is not None:
            raise self.error


def name_of(value: object) -> str:
    """For the id of a test."""
    return type(value).__name__ if isinstance(value, BaseException) else str(value)
