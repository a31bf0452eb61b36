"""Marks of stored messages (pushed, sent for the first time, acknowledged), written to the database in batches."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from app.db.database import Database
from app.errors import Unavailable
from app.notifications.repository import NotifyRepository, PushMark
from app.timing.clock import Clock
from app.timing.write_behind import MAX_WAITING, WriteBehind

logger = logging.getLogger(__name__)


class Marks:
    """The marks that wait to be written. `run` must be running. A lost mark makes recovery push the message again."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._pushed: WriteBehind[str] = WriteBehind(self._write_pushed)
        self._places: dict[str, PushMark] = {}  # of what is noted as pushed
        self._sent: WriteBehind[str] = WriteBehind(self._write_sent)
        self._delivered: WriteBehind[tuple[str, str]] = WriteBehind(self._write_delivered)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for writer in (self._pushed, self._sent, self._delivered):
                group.create_task(writer.run())

    async def flush(self) -> None:
        """Write all waiting marks. Log those that cannot be written."""
        writers = (self._delivered, self._pushed, self._sent)
        for writer in writers:
            try:
                await writer.flush()
            except Unavailable as error:
                logger.warning("%d notes are lost: %s", sum(len(one) for one in writers), error.detail)
                break

    # Pushed

    def pushed(self, mark: PushMark) -> None:
        if len(self._places) >= MAX_WAITING:
            del self._places[next(iter(self._places))]
        self._places[mark.id] = mark
        self._pushed.note(mark.id)

    def is_pushed(self, message_id: str) -> bool:
        """Return whether the message has a waiting mark as pushed."""
        return message_id in self._pushed

    def of(self, ids: Sequence[str]) -> Sequence[PushMark]:
        """Return the marks that wait; an id without one is pushed, and its place is not known."""
        return [self._places.get(message_id) or PushMark(message_id, None, False) for message_id in ids]

    async def _write_pushed(self, ids: Sequence[str]) -> None:
        marks = self.of(ids)
        async with self._database.transaction() as session:
            await NotifyRepository(session).mark_pushed(marks, self._clock.epoch_ms())
        for message_id in ids:
            self._places.pop(message_id, None)

    # Sent to a session for the first time

    def sent(self, message_id: str) -> None:
        self._sent.note(message_id)

    async def _write_sent(self, ids: Sequence[str]) -> None:
        async with self._database.transaction() as session:
            await NotifyRepository(session).mark_sent(ids)

    # Acknowledged

    def delivered(self, receiver: str, message_id: str) -> None:
        self._delivered.note((receiver, message_id))

    def unwritten_deliveries(self) -> set[tuple[str, str]]:
        """Return receivers and ids of acknowledgements that the database does not have yet."""
        return set(self._delivered)

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        """Return an awaitable that completes when the acknowledgement is written; None if none waits."""
        item = (receiver, message_id)
        return self._delivered.written(item) if item in self._delivered else None

    async def _write_delivered(self, ids: Sequence[tuple[str, str]]) -> None:
        async with self._database.transaction() as session:
            await NotifyRepository(session).mark_delivered(ids, self._clock.epoch_ms())
