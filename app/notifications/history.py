"""A user's history: pages, the unread count, and marking messages as viewed or deleting them."""

from collections.abc import Sequence

from app.db.database import Database
from app.delivery.delivery import Delivery
from app.messages.message import NotifyMessage
from app.messages.types import NOTIFY_DELETED, NOTIFY_VIEWED
from app.notifications.repository import Cursor, NotifyRepository
from app.notifications.tables import NotifyLog
from app.timing.clock import Clock


class NotifyHistory:
    """Reads and changes the stored messages of users. Changes are announced to all devices of the user."""

    def __init__(self, *, database: Database, delivery: Delivery, clock: Clock) -> None:
        self._database = database
        self._delivery = delivery
        self._clock = clock

    async def page(
        self, user: str, *, before: Cursor | int | None, offset: int, limit: int
    ) -> tuple[Sequence[NotifyLog], Cursor | None]:
        """Return a page, newest first, and the cursor of the next page, None at the end."""
        async with self._database.read() as session:
            rows = await NotifyRepository(session).history(user, before=before, offset=offset, limit=limit + 1)
        page = rows[:limit]
        return page, Cursor(page[-1].created, page[-1].id) if len(rows) > limit else None

    async def unread_count(self, user: str) -> int:
        async with self._database.read() as session:
            return await NotifyRepository(session).unread_count(user)

    async def mark_viewed(self, user: str, ids: Sequence[str]) -> tuple[int, int]:
        """Mark messages as viewed. Return how many were unread before and how many unread ones are left."""
        async with self._database.transaction() as session:
            repository = NotifyRepository(session)
            changed = await repository.mark_viewed(user, ids, self._clock.epoch_ms())
            unread = await repository.unread_count(user)
        await self._tell_devices(user, NOTIFY_VIEWED, changed, unread)
        return len(changed), unread

    async def delete(self, user: str, ids: Sequence[str]) -> tuple[int, int]:
        """Delete messages. Return how many were deleted and how many unread ones are left."""
        async with self._database.transaction() as session:
            repository = NotifyRepository(session)
            changed = await repository.delete(user, ids)
            unread = await repository.unread_count(user)
        await self._tell_devices(user, NOTIFY_DELETED, changed, unread)
        return len(changed), unread

    async def _tell_devices(self, user: str, type: str, ids: Sequence[str], unread: int) -> None:
        if not ids:
            return
        message = NotifyMessage(
            id=self._delivery.new_id(),
            type=type,
            receiver=user,
            data={"ids": list(ids), "unread": unread},
            viewed=False,
            created=self._clock.epoch_ms(),
        )
        self._delivery.tell(message, withdrawn=ids)
