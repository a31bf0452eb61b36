"""Who was sent what and has not acknowledged it: the port."""

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
        """False, and nothing was done, if the session has as many open already, or one of this message."""

    def get(self, session_id: str, message_id: str) -> Record | None: ...

    def records(self, session_id: str) -> Sequence[Record]:
        """Of one session, in the order in which they were opened."""

    def count(self, session_id: str) -> int:
        """How many records of the session are open."""

    def close(self, record: Record) -> None:
        """Takes the record out and lets go of its message."""

    def close_session(self, session_id: str) -> Sequence[Record]:
        """Takes out all its records; what they were is in the answer."""

    def reschedule(self, record: Record, due_s: float) -> None: ...

    def pop_due(self, now_s: float) -> Sequence[Record]:
        """The records that are due. They stay open, and come no more until they are rescheduled."""
