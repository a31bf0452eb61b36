"""Idempotency-Key: the same request again is answered as the first time, and does nothing.

After the draft of the IETF httpapi working group, "The Idempotency-Key HTTP Header Field". The messages of a request
have ids that are derived from its key, so a request that runs again pushes nothing twice. What is stored here is which
request a key belongs to, whether one is under way, and the final answer.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlmodel import col

from app.db.database import Database
from app.errors import IdConflict, InProgress, ServiceError, Unavailable
from app.notifications.repository import claim_key
from app.notifications.tables import IdempotencyKey
from app.timing.clock import Clock

LEASE_MS = 5_000  # how long a key stays taken after the death of its process
RENEWAL_S = 1.5
RETENTION_SLICE = 1_000

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """The response to a request. Not `final`: parts failed for temporary reasons, and a retry runs those again."""

    text: str
    final: bool = True


class IdempotencyStore:
    """Runs each keyed request once, across nodes. `renew` must be called every RENEWAL_S."""

    def __init__(self, *, database: Database, clock: Clock, ttl_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._under_way: set[str] = set()

    async def run(self, key: str, fingerprint: str, action: Callable[[], Awaitable[Result]]) -> tuple[str, bool]:
        """Run `action` once for a key. Return its result, and whether it is that of an earlier call.

        `key` and `fingerprint` are digests of at most 64 characters. Raises IdConflict if the key came with another
        fingerprint before, InProgress while another call is under way, Unavailable, and what `action` raises. A final
        refusal frees the key; after any other failure it stays bound to the fingerprint, and `action` runs again.
        """
        stored = await self._begin(key, fingerprint)
        if stored is not None:
            return stored, True
        self._under_way.add(key)
        try:
            return await self._run(key, action), False
        finally:
            self._under_way.discard(key)

    async def _run(self, key: str, action: Callable[[], Awaitable[Result]]) -> str:
        try:
            result = await action()
        except BaseException as error:
            await self._end(key, None, keep=not (isinstance(error, ServiceError) and error.is_final))
            raise
        await self._end(key, result.text if result.final else None)
        return result.text

    async def _begin(self, key: str, fingerprint: str) -> str | None:
        """Take the lease and return None, or return the stored answer."""
        now_ms = self._clock.epoch_ms()
        row = IdempotencyKey(key=key, fingerprint=fingerprint, created=now_ms, lease_until=now_ms + LEASE_MS)
        async with self._database.transaction() as session:
            if await claim_key(session, row, expired_before_ms=now_ms - self._ttl_ms, now_ms=now_ms):
                return None
            known = (await session.execute(select(IdempotencyKey).where(col(IdempotencyKey.key) == key))).scalar()
        if known is not None and known.fingerprint != fingerprint:
            raise IdConflict("this Idempotency-Key came before with another request")
        if known is None or known.result is None:  # None: it was refused just now
            raise InProgress("a request with this Idempotency-Key is under way", retry_after_s=1)
        return known.result

    async def _end(self, key: str, answer: str | None, *, keep: bool = True) -> None:
        """Store the answer if there is one, and end the lease. If it cannot be written, the lease ends by itself."""
        row = col(IdempotencyKey.key) == key, col(IdempotencyKey.result).is_(None)
        change = update(IdempotencyKey).where(*row).values(result=answer, lease_until=None)
        try:
            async with self._database.transaction() as session:
                await session.execute(change if keep else delete(IdempotencyKey).where(*row))
        except Unavailable as error:  # a retry runs again and pushes nothing twice
            logger.warning("the result of an Idempotency-Key is not kept: %s", error.detail)

    async def renew(self) -> None:
        """Extend the leases of the requests that are running on this node."""
        if not self._under_way:
            return
        until_ms = self._clock.epoch_ms() + LEASE_MS
        keys = col(IdempotencyKey.key).in_(self._under_way), col(IdempotencyKey.lease_until).is_not(None)
        try:
            async with self._database.transaction() as session:
                await session.execute(update(IdempotencyKey).where(*keys).values(lease_until=until_ms))
        except Unavailable as error:
            logger.warning("leases of Idempotency-Keys are not renewed: %s", error.detail)

    async def run_retention(self) -> None:
        """Delete keys that have expired."""
        try:
            while await self._delete_old() == RETENTION_SLICE:
                pass
        except Unavailable as error:
            logger.warning("retention waits: %s", error.detail)

    async def _delete_old(self) -> int:
        """Delete at most RETENTION_SLICE expired keys. Return their number."""
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
