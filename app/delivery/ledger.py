"""The port for the records of messages that sessions were sent and have not acknowledged."""

import sys
from collections.abc import Sequence
from typing import Protocol

from app.delivery.log import Record


class Ledger(Protocol):
    """The open records of this node's sessions. Every call is instant; a ledger with a server behind it writes behind.

    `Record.slot` belongs to the ledger.
    """

    label: str
    """The mark of its log lines: ACK-LOCAL, ACK-REDIS."""

    def __len__(self) -> int: ...

    def open(self, record: Record, *, at_most: int = sys.maxsize) -> bool:
        """Open a record. Return False if the session has `at_most` open ones, or one of this message."""

    def get(self, session_id: str, message_id: str) -> Record | None: ...

    def records(self, session_id: str) -> Sequence[Record]:
        """Return the open records of a session, oldest first."""

    def count(self, session_id: str) -> int:
        """Return the number of open records of a session."""

    def close(self, record: Record) -> None:
        """Remove a record and release its message."""

    def close_session(self, session_id: str) -> Sequence[Record]:
        """Remove and return all records of a session."""

    def reschedule(self, record: Record, due_s: float) -> None: ...

    def pop_due(self, now_s: float) -> Sequence[Record]:
        """Return the records that are due. They stay open, and are not due again until they are rescheduled."""
