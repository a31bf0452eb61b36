"""The owner node of each SockJS session: one key per session, which expires unless its node refreshes it."""

import asyncio
from collections.abc import Iterable, Sequence

from app.cluster.keys import sockjs_key
from app.cluster.scripts import CLAIM, DISOWN
from app.redis.client import RedisClient
from app.timing.write_behind import WriteBehind

TTL_MS = 60_000
REFRESH_S = 20.0
SLICE = 200  # sessions refreshed at a time


class RedisOwners:
    """SockJS session owners in Redis. `run` must be running. Coroutines raise Unavailable."""

    def __init__(self, client: RedisClient, *, node: str) -> None:
        self._client = client
        self._node = node
        self._disowned: WriteBehind[str] = WriteBehind(self._disown)

    async def claim(self, session: str, *, instead_of: str = "") -> str:
        owner: bytes = await self._client.run_script(CLAIM, (sockjs_key(session),), self._node, TTL_MS, instead_of)
        return owner.decode(errors="replace")

    async def find(self, session: str) -> str | None:
        key = sockjs_key(session)
        owner: bytes | None = await self._client.call(key, "GET", key)
        return None if owner is None else owner.decode(errors="replace")

    async def refresh(self, sessions: Iterable[str]) -> Sequence[str]:
        lost, waiting = [], [session for session in sessions if session not in self._disowned]
        for start in range(0, len(waiting), SLICE):
            part = waiting[start : start + SLICE]
            owners = await asyncio.gather(*map(self.claim, part))
            lost += [session for session, owner in zip(part, owners, strict=True) if owner != self._node]
        return lost

    def disown(self, session: str) -> None:
        self._disowned.note(session)

    async def flush(self) -> None:
        await self._disowned.flush()

    async def run(self) -> None:
        """Remove disowned sessions until cancelled."""
        await self._disowned.run()

    async def _disown(self, sessions: Sequence[str]) -> None:
        await asyncio.gather(
            *(self._client.run_script(DISOWN, (sockjs_key(session),), self._node) for session in sessions)
        )
