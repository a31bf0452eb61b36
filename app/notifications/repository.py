"""All SQL of notifications. The caller commits."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, bindparam, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel, col

from app.notifications.tables import IdempotencyKey, NotifyLog, UnreadCount


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a message in the history, after which the next page begins."""

    created: int
    id: str

    def __str__(self) -> str:
        return f"{self.created}_{self.id}"


class PushMark(NamedTuple):
    """The mark of a pushed row: its seq, None if unknown, and whether a session received it."""

    id: str
    seq: int | None
    sent: bool


def _insert(session: AsyncSession, table: type[SQLModel]) -> Any:
    """Both dialects have the same ON CONFLICT, each in a class of its own.

    Of the bare table, to be executed with the rows: SQLAlchemy then compiles it once. As `values` of the statement, or
    through the ORM, hundreds of rows cost several times what the database takes to store them.
    """
    insert: Any = postgres_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    return insert(SQLModel.metadata.tables[str(table.__tablename__)])


async def insert_if_new(
    session: AsyncSession, table: type[SQLModel], rows: Sequence[dict[str, Any]], key: str
) -> set[str]:
    """Insert rows with one statement, without those whose `key` exists. Return the new keys."""
    statement = _insert(session, table).on_conflict_do_nothing(index_elements=[key])
    return set((await session.execute(statement.returning(statement.table.c[key]), rows)).scalars())


async def claim_key(session: AsyncSession, row: IdempotencyKey, *, expired_before_ms: int, now_ms: int) -> bool:
    """Take the lease of `row` in one statement. False: the key is another request's, answered, or leased.

    A lease that ends later than one taken now is free, too: the clock was set back since.
    """
    lease_until_ms = row.lease_until
    statement = _insert(session, IdempotencyKey)
    columns, new = statement.table.c, statement.excluded
    is_expired = columns.created < expired_before_ms
    is_free = columns.lease_until.is_(None) | ~columns.lease_until.between(now_ms + 1, lease_until_ms)
    goes_on = (columns.fingerprint == new.fingerprint) & columns.result.is_(None) & is_free
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={name: new[name] for name in ("fingerprint", "created", "result", "lease_until")},
        where=is_expired | goes_on,
    )
    claimed = await session.execute(statement.returning(columns.key), [row.model_dump()])
    return claimed.scalar() is not None


_BLIND = {"synchronize_session": False}  # nothing that the session holds shows these changes


def _locked(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """For the `where` of a change: its rows, which PostgreSQL locks in the order of their ids.

    Who locks in the same order as all others waits for them, but never in a circle.
    """
    rows = select(col(NotifyLog.id)).where(*conditions).order_by(col(NotifyLog.id)).with_for_update()
    return col(NotifyLog.id).in_(rows.scalar_subquery())


class NotifyRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # Storing and pushing

    async def insert(self, rows: Sequence[NotifyLog]) -> set[str]:
        """Insert rows with one statement, without those whose id exists. Return the new ids."""
        ordered = sorted(rows, key=lambda row: row.id)  # as `_locked` does it
        new = await insert_if_new(self._session, NotifyLog, [row.model_dump() for row in ordered], "id")
        await self._add_unread(Counter(row.receiver for row in rows if row.id in new))
        return new

    async def _add_unread(self, changes: Mapping[str, int]) -> None:
        """Add to the unread counts: after the rows, in the order of receivers, so that no transactions deadlock."""
        rows = [{"receiver": receiver, "unread": change} for receiver, change in sorted(changes.items()) if change]
        if rows:
            statement = _insert(self._session, UnreadCount)
            total = col(UnreadCount.unread) + statement.excluded.unread
            await self._session.execute(
                statement.on_conflict_do_update(index_elements=["receiver"], set_={"unread": total}), rows
            )

    async def get(self, message_id: str) -> NotifyLog | None:
        return await self._session.get(NotifyLog, message_id)

    async def mark_pushed(self, marks: Sequence["PushMark"], now_ms: int) -> None:
        """Mark rows as pushed, in the order of their ids, as `_locked` does."""
        table = SQLModel.metadata.tables["notify_log"]
        statement = (
            update(table)
            .where(table.c.id == bindparam("row_id"), table.c.seq.is_(None))
            .values(
                pushed_at=func.coalesce(table.c.pushed_at, now_ms),
                seq=bindparam("place"),
                sent=or_(table.c.sent, bindparam("is_sent", type_=Boolean)),  # a replay may have sent it before
            )
        )
        rows = [{"row_id": mark.id, "place": mark.seq, "is_sent": mark.sent} for mark in sorted(marks)]
        await self._session.execute(statement, rows)

    async def mark_sent(self, ids: Sequence[str]) -> None:
        rows = _locked(col(NotifyLog.id).in_(ids), col(NotifyLog.sent).is_(False))
        await self._session.execute(update(NotifyLog).where(rows).values(sent=True).execution_options(**_BLIND))

    async def mark_delivered(self, ids: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Mark rows as delivered and pushed. `ids` are pairs of receiver and id, so users mark only their own."""
        rows = _locked(
            tuple_(col(NotifyLog.receiver), col(NotifyLog.id)).in_(ids), col(NotifyLog.delivered_at).is_(None)
        )
        await self._session.execute(
            update(NotifyLog)
            .where(rows)
            .values(delivered_at=now_ms, pushed_at=func.coalesce(NotifyLog.pushed_at, now_ms))
            .execution_options(**_BLIND)
        )

    async def lock_unpushed(self, *, before_ms: int, after_ms: int, limit: int) -> Sequence[NotifyLog]:
        """The oldest rows that have not been pushed and that no other transaction has locked.

        Rows of after `after_ms` are from before a step back of the clock: how old they are is not known.
        PostgreSQL keeps them for this transaction; with SQLite there is one process only.
        """
        rows = await self._session.execute(
            select(NotifyLog)
            .where(
                col(NotifyLog.pushed_at).is_(None),
                (col(NotifyLog.created) < before_ms) | (col(NotifyLog.created) > after_ms),
            )
            .order_by(col(NotifyLog.created), col(NotifyLog.id))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return rows.scalars().all()

    async def unpushed(self, ids: Collection[str]) -> Sequence[NotifyLog]:
        """Return the rows among `ids` that are stored and not pushed, oldest first."""
        rows = await self._session.execute(
            select(NotifyLog)
            .where(col(NotifyLog.id).in_(ids), col(NotifyLog.pushed_at).is_(None))
            .order_by(col(NotifyLog.created), col(NotifyLog.id))
        )
        return rows.scalars().all()

    async def undelivered(self, receiver: str, *, since_ms: int, limit: int) -> Sequence[NotifyLog]:
        """Return the receiver's undelivered rows, oldest first."""
        rows = await self._session.execute(
            select(NotifyLog)
            .where(
                col(NotifyLog.receiver) == receiver,
                col(NotifyLog.delivered_at).is_(None),
                col(NotifyLog.viewed).is_(False),
                col(NotifyLog.created) >= since_ms,
            )
            .order_by(col(NotifyLog.created), col(NotifyLog.id))
            .limit(limit)
        )
        return rows.scalars().all()

    async def receivers_waited_for(self, receivers: Collection[str], *, since_ms: int) -> Collection[str]:
        """Return the receivers that may have undelivered rows. `undelivered` is exact."""
        rows = await self._session.execute(
            select(col(NotifyLog.receiver))
            .where(
                col(NotifyLog.receiver).in_(receivers),
                col(NotifyLog.delivered_at).is_(None),
                col(NotifyLog.created) >= since_ms,
            )
            .distinct()
        )
        return set(rows.scalars())

    async def count_undelivered(self, receiver: str, *, since_ms: int) -> int:
        count = await self._session.execute(
            select(func.count()).where(
                col(NotifyLog.receiver) == receiver,
                col(NotifyLog.delivered_at).is_(None),
                col(NotifyLog.viewed).is_(False),
                col(NotifyLog.created) >= since_ms,
            )
        )
        return count.scalar_one()

    # What a user sees

    async def history(
        self, receiver: str, *, before: Cursor | int | None, offset: int, limit: int
    ) -> Sequence[NotifyLog]:
        """Return a page of rows, newest first, older than `before`: a time in ms, or a cursor."""
        statement = select(NotifyLog).where(col(NotifyLog.receiver) == receiver)
        if isinstance(before, Cursor):
            place = tuple_(col(NotifyLog.created), col(NotifyLog.id))
            statement = statement.where(place < (before.created, before.id))
        elif before is not None:
            statement = statement.where(col(NotifyLog.created) < before)
        statement = statement.order_by(col(NotifyLog.created).desc(), col(NotifyLog.id).desc())
        return (await self._session.execute(statement.offset(offset).limit(limit))).scalars().all()

    async def unread_count(self, receiver: str) -> int:
        count = await self._session.execute(
            select(col(UnreadCount.unread)).where(col(UnreadCount.receiver) == receiver)
        )
        return count.scalar_one_or_none() or 0

    async def mark_viewed(self, receiver: str, ids: Sequence[str], now_ms: int) -> Sequence[str]:
        """Mark the receiver's rows as viewed. Return the ids that were unread."""
        rows = _locked(
            col(NotifyLog.receiver) == receiver, col(NotifyLog.id).in_(ids), col(NotifyLog.viewed).is_(False)
        )
        changed = await self._session.execute(
            update(NotifyLog)
            .where(rows)
            .values(
                viewed=True,
                last_modified=now_ms,
                version=NotifyLog.version + 1,
                pushed_at=func.coalesce(NotifyLog.pushed_at, now_ms),
                delivered_at=func.coalesce(NotifyLog.delivered_at, now_ms),
            )
            .returning(col(NotifyLog.id))
            .execution_options(**_BLIND)
        )
        ids = changed.scalars().all()
        await self._add_unread({receiver: -len(ids)})
        return ids

    async def delete(self, receiver: str, ids: Sequence[str]) -> Sequence[str]:
        """Delete the receiver's rows. Return the ids that existed."""
        gone = await self._session.execute(
            delete(NotifyLog)
            .where(_locked(col(NotifyLog.receiver) == receiver, col(NotifyLog.id).in_(ids)))
            .returning(col(NotifyLog.id), col(NotifyLog.viewed))
            .execution_options(**_BLIND)
        )
        rows = gone.all()
        await self._add_unread({receiver: -sum(not viewed for _, viewed in rows)})
        return [message_id for message_id, _ in rows]

    # Retention

    async def delete_older(self, before_ms: int, limit: int) -> int:
        """Delete at most `limit` rows created before `before_ms`. Return their number."""
        older = select(col(NotifyLog.id)).where(col(NotifyLog.created) < before_ms).order_by(col(NotifyLog.created))
        # What is being changed right now goes next time. PostgreSQL evaluates a CTE that locks once: the limit holds.
        old = older.limit(limit).with_for_update(skip_locked=True).cte()
        gone = await self._session.execute(
            delete(NotifyLog)
            .where(col(NotifyLog.id).in_(select(old.c.id)))
            .returning(col(NotifyLog.receiver), col(NotifyLog.viewed))
            .execution_options(**_BLIND)
        )
        rows = gone.all()
        unread = Counter(receiver for receiver, viewed in rows if not viewed)
        await self._add_unread({receiver: -count for receiver, count in unread.items()})
        return len(rows)
