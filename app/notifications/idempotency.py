"""Idempotency-Key: the same request again is answered as the first time, and does nothing.

After the draft of the IETF httpapi working group, "The Idempotency-Key HTTP Header Field".
"""

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import delete, select, update
from sqlmodel import col

from app.clock import Clock
from app.db.database import Database
from app.errors import IdConflict, InProgress, Unavailable
from app.notifications.repository import insert_if_new
from app.notifications.tables import IdempotencyKey

ABANDONED_MS = 60_000  # a request that was not answered for so long died with its process
RETENTION_SLICE = 1_000


logger = logging.getLogger(__name__)


class IdempotencyStore:
    def __init__(self, *, database: Database, clock: Clock, ttl_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._ttl_ms = ttl_ms

    async def run(self, key: str, fingerprint: str, action: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        """The result of `action`, and whether it is one of an earlier call.

        `key` and `fingerprint` are digests of at most 64 characters. Raises IdConflict if the key came with another
        fingerprint before, InProgress while the first call is under way, Unavailable, and what `action` raises: the key
        is free again then.
        """
        stored = await self._begin(key, fingerprint)
        if stored is not None:
            return stored, True
        try:
            result = await action()
        except BaseException:
            await self._forget(key)
            raise
        try:
            await self._finish(key, result)
        except Unavailable as error:  # what was done is done; the same again within a minute is told to wait
            logger.warning("the result of an Idempotency-Key is not kept: %s", error.detail)
        return result, False

    async def _begin(self, key: str, fingerprint: str) -> str | None:
        now_ms = self._clock.epoch_ms()
        async with self._database.transaction() as session:
            await session.execute(
                delete(IdempotencyKey).where(
                    col(IdempotencyKey.key) == key,
                    (col(IdempotencyKey.created) < now_ms - self._ttl_ms)
                    | (col(IdempotencyKey.result).is_(None) & (col(IdempotencyKey.created) < now_ms - ABANDONED_MS)),
                )
            )
            row = IdempotencyKey(key=key, fingerprint=fingerprint, created=now_ms)
            if await insert_if_new(session, IdempotencyKey, [row.model_dump()], "key"):
                return None
            known = (await session.execute(select(IdempotencyKey).where(col(IdempotencyKey.key) == key))).scalar()
        if known is not None and known.fingerprint != fingerprint:
            raise IdConflict("this Idempotency-Key came before with another request")
        if known is None or known.result is None:  # None: the first request has failed just now
            raise InProgress("the first request with this Idempotency-Key is under way", retry_after_s=1)
        return known.result

    async def _finish(self, key: str, result: str) -> None:
        async with self._database.transaction() as session:
            await session.execute(update(IdempotencyKey).where(col(IdempotencyKey.key) == key).values(result=result))

    async def _forget(self, key: str) -> None:
        async with self._database.transaction() as session:
            await session.execute(delete(IdempotencyKey).where(col(IdempotencyKey.key) == key))

    async def run_retention(self) -> None:
        """The job: forgets keys that are past their time."""
        try:
            while await self._delete_old() == RETENTION_SLICE:
                pass
        except Unavailable as error:
            logger.warning("retention waits: %s", error.detail)

    async def _delete_old(self) -> int:
        """At most RETENTION_SLICE keys that are past their time, and how many they were."""
        old = (
            select(col(IdempotencyKey.key))
            .where(col(IdempotencyKey.created) < self._clock.epoch_ms() - self._ttl_ms)
            .limit(RETENTION_SLICE)
        )
        async with self._database.transaction() as session:
            gone = await session.execute(
                delete(IdempotencyKey)
                .where(col(IdempotencyKey.key).in_(old.scalar_subquery()))
                .returning(col(IdempotencyKey.key))
                .execution_options(synchronize_session=False)
            )
            return len(gone.scalars().all())
