"""Messages that are stored first and pushed after."""

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from app.db.batcher import Batcher
from app.db.database import Database
from app.delivery.delivery import Delivery
from app.delivery.log import PushOutcome
from app.errors import IdConflict, Unavailable
from app.messages.message import MessageEncoder, NotifyMessage, addressed
from app.notifications.marks import Marks
from app.notifications.policy import NotifyPolicy
from app.notifications.repository import NotifyRepository, PushMark
from app.notifications.stored import message_of, stored_envelope
from app.notifications.tables import NotifyLog
from app.notifications.unrelayed import Unrelayed
from app.timing.clock import Clock

RECOVERY_SLICE = 200  # rows of one recovery transaction
RETENTION_SLICE = 1_000  # rows of one deleting transaction

logger = logging.getLogger(__name__)


class NotifyManager:
    """Stores and pushes messages, recovers unpushed ones, and deletes old ones. `run` must be running."""

    def __init__(
        self, *, database: Database, delivery: Delivery, clock: Clock, policy: NotifyPolicy, marks: Marks
    ) -> None:
        self._database = database
        self._delivery = delivery
        self._clock = clock
        self._policy = policy
        self.inserts: Batcher[NotifyLog, bool] = Batcher(
            self._insert, late=self._stored_late, uncertain=self._perhaps_stored
        )
        self._marks = marks
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
            for worker in (self.inserts, self._unrelayed):
                group.create_task(worker.run())

    # Pushing

    def _stored_late(self, row: NotifyLog, is_new: bool) -> None:
        """Push a row that was stored after its caller was told to try again. The next try finds it."""
        if is_new:
            self._unrelayed.add(message_of(row))

    def _perhaps_stored(self, rows: Sequence[NotifyLog]) -> None:
        self._unrelayed.add_uncertain([row.id for row in rows])

    async def save_and_publish(self, message: NotifyMessage) -> PushOutcome:
        """Store a message, then push it. After the commit the message survives a crash of this process.

        An id that is stored with the same content returns the earlier outcome and sends nothing. Raises IdConflict for
        other content, InvalidMessage if the receiver cannot name a user, Unavailable if the message cannot be stored;
        nothing is pushed then.
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
        envelope = stored_envelope(message, self._clock.epoch_ms() + self._policy.ack_ttl_ms)
        outcome = await self._delivery.push(envelope, again=again)
        self._marks.pushed(PushMark(message.id, envelope.seq or None, outcome.status == "sent"))
        return outcome

    async def _publish_again(self, message: NotifyMessage) -> None:
        await self._publish(message, again=True)

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

    # Jobs

    async def recover(self) -> int:
        """Push a slice of the stored messages that were not pushed because a process died. Return their number."""
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
        """Recover all unpushed messages, slice by slice. If the database is away, the next run tries again."""
        try:
            while await self.recover() == RECOVERY_SLICE:
                pass
        except Unavailable as error:
            logger.warning("recovery waits: %s", error.detail)

    async def run_retention(self) -> None:
        """Delete messages older than the retention, in small transactions that hold no lock for long."""
        before_ms = self._policy.since_ms(self._clock.epoch_ms())
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
        """Insert rows in one transaction. Return for each whether it is new; of equal ids the first is."""
        unique = {row.id: row for row in reversed(rows)}
        async with self._database.transaction() as session:
            new = await NotifyRepository(session).insert(list(unique.values()))
        return [row.id in new and unique[row.id] is row for row in rows]

    async def _find_unpushed(self, ids: Sequence[str]) -> Sequence[NotifyMessage]:
        async with self._database.read() as session:
            rows = await NotifyRepository(session).unpushed(ids)
        return [message_of(row) for row in rows]


def _content(message: NotifyMessage) -> bytes:
    """Return the content as JSON, in which 1 and true differ."""
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
