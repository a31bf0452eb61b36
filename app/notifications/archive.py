"""The archive of the delivery: persisted messages that wait for their receivers."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager

from app.db.batcher import Batcher
from app.db.database import Database
from app.errors import Unavailable
from app.messages.message import Envelope
from app.notifications.marks import Marks
from app.notifications.policy import NotifyPolicy
from app.notifications.repository import NotifyRepository
from app.notifications.stored import message_of, stored_envelope
from app.notifications.tables import NotifyLog
from app.timing.clock import Clock

logger = logging.getLogger(__name__)


class NotifyArchive:
    """The port `Archive` on the database. `run` must be running. `marks` are what is not written yet."""

    def __init__(self, *, database: Database, clock: Clock, policy: NotifyPolicy) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy
        self._waiting: Batcher[str, bool] = Batcher(self._are_waited_for)
        self.marks = Marks(database=database, clock=clock)

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in (self._waiting, self.marks):
                group.create_task(worker.run())

    async def close(self) -> None:
        """Write the marks. Recovery pushes messages whose marks cannot be written once more."""
        await self.marks.flush()

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        """Return whether anything is pending. Look-ups of several receivers are batched into one query."""
        return await self._waiting.submit(receiver, timeout_s=timeout_s)

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        """Return what no session of the receiver has acknowledged, oldest first, and how many more there are."""
        since_ms = self._policy.since_ms(self._clock.epoch_ms())
        unwritten = self.marks.unwritten_deliveries()  # before the query, which may not find them
        with _defects_contained():
            async with self._database.read() as session:
                repository = NotifyRepository(session)
                rows = await repository.undelivered(receiver, since_ms=since_ms, limit=limit)
                total = len(rows)
                if total == limit:
                    total = await repository.count_undelivered(receiver, since_ms=since_ms)
            envelopes = [self._archived(row) for row in rows if (receiver, row.id) not in unwritten]
            return envelopes, max(0, total - len(rows))

    def _archived(self, row: NotifyLog) -> Envelope:
        (mark,) = self.marks.of([row.id])
        expires_ms = self._clock.epoch_ms() + self._policy.ack_ttl_ms
        was_sent, seq = mark.sent or row.sent, mark.seq or row.seq or 0
        return stored_envelope(message_of(row), expires_ms, was_sent=was_sent, seq=seq)

    async def _are_waited_for(self, receivers: Sequence[str]) -> Sequence[bool]:
        with _defects_contained():
            async with self._database.read() as session:
                found = await NotifyRepository(session).receivers_waited_for(
                    receivers, since_ms=self._policy.since_ms(self._clock.epoch_ms())
                )
            return [receiver in found for receiver in receivers]

    def delivered(self, receiver: str, message_id: str) -> None:
        self.marks.delivered(receiver, message_id)

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        return self.marks.confirmation(receiver, message_id)

    def replayed(self, message_id: str) -> None:
        self.marks.sent(message_id)


@contextmanager
def _defects_contained() -> Iterator[None]:
    """Turn every failure into Unavailable: the reader of the archive then sends the transient messages alone."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        logger.exception("the archive could not be read")
        raise Unavailable("the archive cannot be read") from error
