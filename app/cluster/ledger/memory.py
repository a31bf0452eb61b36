"""The ledger in memory."""

import sys
from collections.abc import Iterator, Sequence

from app.delivery.log import Record
from app.timing.schedule import Schedule

RESOLUTION_S = 0.05


class MemoryLedger:
    """The open records by session, and a schedule of when each is due."""

    label = "ACK-LOCAL"

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, Record]] = {}
        self._schedule: Schedule[Record] = Schedule(RESOLUTION_S)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def open(self, record: Record, *, at_most: int = sys.maxsize) -> bool:
        records, message_id = self._sessions.get(record.session_id), record.trace.id
        if records is None:
            records = self._sessions[record.session_id] = {}
        elif len(records) >= at_most or message_id in records:
            return False
        records[message_id] = record
        record.slot = self._schedule.add(record, record.due_s)
        self._size += 1
        return True

    def get(self, session_id: str, message_id: str) -> Record | None:
        records = self._sessions.get(session_id)
        return records.get(message_id) if records else None

    def records(self, session_id: str) -> Sequence[Record]:
        return tuple(self._sessions.get(session_id, {}).values())

    def count(self, session_id: str) -> int:
        return len(self._sessions.get(session_id, ()))

    def open_records(self) -> Iterator[Record]:
        for records in self._sessions.values():
            yield from records.values()

    def close(self, record: Record) -> None:
        records = self._sessions[record.session_id]
        del records[record.trace.id]
        if not records:
            del self._sessions[record.session_id]
        self._release(record)

    def close_session(self, session_id: str) -> Sequence[Record]:
        records = tuple(self._sessions.pop(session_id, {}).values())
        for record in records:
            self._release(record)
        return records

    def _release(self, record: Record) -> None:
        self._schedule.discard(record, record.slot)
        record.envelope = None
        self._size -= 1

    def reschedule(self, record: Record, due_s: float) -> None:
        self._schedule.discard(record, record.slot)
        record.due_s = due_s
        record.slot = self._schedule.add(record, due_s)

    def pop_due(self, now_s: float) -> Sequence[Record]:
        return self._schedule.pop_due(now_s)
