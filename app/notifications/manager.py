"""Messages that are stored first and pushed after."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from app.db.batcher import Batcher
from app.db.database import Database
from app.delivery.delivery import Delivery
from app.delivery.log import PushOutcome
from app.errors import IdConflict, Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage, addressed
from app.notifications.marks import Marks
from app.notifications.repository import NotifyRepository, PushMark
from app.notifications.tables import NotifyLog
from app.notifications.unrelayed import Unrelayed
from app.timing.clock import Clock

DAY_MS = 86_400_000
RECOVERY_SLICE = 200  # rows of one recovery transaction
RETENTION_SLICE = 1_000  # rows of one deleting transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyPolicy:
    """`grace_ms`: so long a stored message is left to the request that stored it, before recovery pushes it."""

    ack_ttl_ms: int = 60_000
    retention_days: int = 30
    grace_ms: int = 10_000


class NotifyManager:
    """Stores, pushes, and looks after what was stored. `run` must be running."""

    def __init__(self, *, database: Database, delivery: Delivery, clock: Clock, policy: NotifyPolicy) -> None:
        self._database = database
        self._delivery = delivery
        self._clock = clock
        self._policy = policy
        self.inserts: Batcher[NotifyLog, bool] = Batcher(
            self._insert, late=self._stored_late, uncertain=self._perhaps_stored
        )
        self._waiting: Batcher[str, bool] = Batcher(self._are_waited_for)
        self._marks = Marks(database=database, clock=clock)
        self._unrelayed = Unrelayed(
            push=self._publish_again,
            reaches=delivery.reaches,
            find_unpushed=self._find_unpushed,
            clock=clock,
            uncertain_s=policy.grace_ms / 1000,
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in (self.inserts, self._waiting, self._marks, self._unrelayed):
                group.create_task(worker.run())

    async def close(self) -> None:
        """Writes what was noted; what cannot be written is found again by recovery, or sent once more."""
        await self._marks.flush()

    # Pushing

    def _stored_late(self, row: NotifyLog, is_new: bool) -> None:
        """Its caller was told to try again; it is pushed all the same, and the next try finds it."""
        if is_new:
            self._unrelayed.add(message_of(row))

    def _perhaps_stored(self, rows: Sequence[NotifyLog]) -> None:
        self._unrelayed.add_uncertain([row.id for row in rows])

    async def save_and_publish(self, message: NotifyMessage) -> PushOutcome:
        """Pushes after the commit: from then on the message is safe, whatever happens to this process.

        An id that is stored already with the same content answers as before and sends nothing. Raises IdConflict for
        other content, InvalidMessage if the receiver cannot name a user, Unavailable if it cannot be stored: nothing is
        pushed then.
        """
        message = addressed(message)
        trace = self._delivery.trace(message.id)
        if trace is not None and not trace.persisted:
            raise IdConflict(f"the id {message.id} was pushed before, without being stored")
        self._delivery.require_relay(message.receiver or "")
        row = _row(message)
        row.sent = self._delivery.has_listener(row.receiver)  # so that it holds if the process dies right after
        if not await self.inserts.submit(row):
            return await self._replay(message)
        return await self._publish_or_postpone(message)

    async def _publish_or_postpone(self, message: NotifyMessage, *, again: bool = False) -> PushOutcome:
        try:
            return await self._publish(message, again=again)
        except Unavailable as error:
            logger.warning("message %s is stored, and pushed later: %s", message.id, error.detail)
            self._unrelayed.add(message)
            return PushOutcome(id=message.id, receiver=message.receiver, status="stored", sessions=0)

    async def _publish(self, message: NotifyMessage, *, again: bool = False) -> PushOutcome:
        envelope = self._envelope(message).without_data()
        outcome = await self._delivery.push(envelope, again=again)
        self._marks.pushed(PushMark(message.id, envelope.seq or None, outcome.status == "sent"))
        return outcome

    async def _publish_again(self, message: NotifyMessage) -> None:
        await self._publish(message, again=True)

    def _envelope(self, message: NotifyMessage, *, was_sent: bool = False, seq: int | None = None) -> Envelope:
        return Envelope(
            message=message,
            encoder=MessageEncoder(message),
            expires_ms=self._clock.epoch_ms() + self._policy.ack_ttl_ms,
            persisted=True,
            was_sent=was_sent,
            seq=seq or 0,
        )

    async def _replay(self, message: NotifyMessage) -> PushOutcome:
        row = await self.find(message.id)
        if row is None or _content(message_of(row)) != _content(message):
            raise IdConflict(f"the id {message.id} was pushed before with other content")
        if row.pushed_at is None and not self._marks.is_pushed(row.id):  # the first try only stored it
            return replace(await self._publish_or_postpone(message_of(row), again=True), replayed=True)
        trace = self._delivery.trace(message.id)
        if trace is not None and trace.outcome is not None:
            return PushOutcome(
                id=row.id,
                receiver=row.receiver,
                status=trace.outcome.status,
                sessions=trace.outcome.sessions,
                replayed=True,
            )
        return PushOutcome(
            id=row.id,
            receiver=row.receiver,
            status="stored" if row.delivered_at is None else "sent",
            sessions=0,
            replayed=True,
        )

    async def find(self, message_id: str) -> NotifyLog | None:
        async with self._database.read() as session:
            return await NotifyRepository(session).get(message_id)

    # The archive of the delivery

    async def holds_for(self, receiver: str, *, patience_s: float) -> bool:
        """Whether anything is pending. It is found out for many at once."""
        return await self._waiting.submit(receiver, patience_s=patience_s)

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        """What no session of the receiver has acknowledged, oldest first, and how many more there are."""
        since_ms = self._since_ms()
        unwritten = (
            self._marks.unwritten_deliveries()
        )  # acknowledgements from before the query may not be in the database yet
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
        (mark,) = self._marks.of([row.id])
        return self._envelope(message_of(row), was_sent=mark.sent or row.sent, seq=mark.seq or row.seq).without_data()

    async def _are_waited_for(self, receivers: Sequence[str]) -> Sequence[bool]:
        with _defects_contained():
            async with self._database.read() as session:
                found = await NotifyRepository(session).receivers_waited_for(receivers, since_ms=self._since_ms())
            return [receiver in found for receiver in receivers]

    def _since_ms(self) -> int:
        return self._clock.epoch_ms() - self._policy.retention_days * DAY_MS

    def delivered(self, receiver: str, message_id: str) -> None:
        self._marks.delivered(receiver, message_id)

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        return self._marks.confirmation(receiver, message_id)

    def replayed(self, message_id: str) -> None:
        self._marks.sent(message_id)

    # Jobs

    async def recover(self) -> int:
        """Pushes what was stored and, because a process died in between, not pushed. How many."""
        now_ms, grace_ms = self._clock.epoch_ms(), self._policy.grace_ms
        async with self._database.transaction() as session:
            repository = NotifyRepository(session)
            rows = await repository.lock_unpushed(
                before_ms=now_ms - grace_ms, after_ms=now_ms + grace_ms, limit=RECOVERY_SLICE
            )
            messages = [message_of(row) for row in rows]
            for message in messages:
                if not self._marks.is_pushed(message.id):  # it was pushed, and only the note of it waits
                    await self._publish(message, again=True)  # the note counts if this transaction fails at its end
            if messages:
                await repository.mark_pushed(self._marks.of([one.id for one in messages]), self._clock.epoch_ms())
        if messages:
            logger.warning("%d stored messages had not been pushed", len(messages))
        return len(messages)

    async def run_recovery(self) -> None:
        """The job: all there is, slice by slice; a database that is away is tried again next time."""
        try:
            while await self.recover() == RECOVERY_SLICE:
                pass
        except Unavailable as error:
            logger.warning("recovery waits: %s", error.detail)

    async def run_retention(self) -> None:
        """The job: deletes what is older than the retention, in steps that hold no lock for long."""
        before_ms = self._since_ms()
        try:
            while await self._delete_older(before_ms) == RETENTION_SLICE:
                pass
        except Unavailable as error:
            logger.warning("retention waits: %s", error.detail)

    async def _delete_older(self, before_ms: int) -> int:
        async with self._database.transaction() as session:
            return await NotifyRepository(session).delete_older(before_ms, RETENTION_SLICE)

    # Writers

    async def _insert(self, rows: Sequence[NotifyLog]) -> Sequence[bool]:
        """Whether each is new; of the same id twice in one transaction the first is."""
        unique = {row.id: row for row in reversed(rows)}
        async with self._database.transaction() as session:
            new = await NotifyRepository(session).insert(list(unique.values()))
        return [row.id in new and unique[row.id] is row for row in rows]

    async def _find_unpushed(self, ids: Sequence[str]) -> Sequence[NotifyMessage]:
        async with self._database.read() as session:
            rows = await NotifyRepository(session).unpushed(ids)
        return [message_of(row) for row in rows]


@contextmanager
def _defects_contained() -> Iterator[None]:
    """The edge of the archive port: whatever is wrong in here must not cost its reader the transient messages."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        logger.exception("the archive could not be read")
        raise Unavailable("the archive cannot be read") from error


def _content(message: NotifyMessage) -> bytes:
    """As JSON, where 1 and true differ."""
    return MessageEncoder(replace(message, viewed=False)).content


def _row(message: NotifyMessage) -> NotifyLog:
    assert message.receiver is not None, "a broadcast is not stored"
    return NotifyLog(
        id=message.id,
        type=message.type,
        receiver=message.receiver,
        data=message.data,
        viewed=message.viewed,
        created=message.created,
        last_modified=message.created,
    )


def message_of(row: NotifyLog) -> NotifyMessage:
    return NotifyMessage(
        id=row.id, type=row.type, receiver=row.receiver, data=row.data, created=row.created, viewed=row.viewed
    )
