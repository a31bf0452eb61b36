"""Who has how many sessions, over all nodes: each session is an entry that fades unless its node keeps it alive."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from app.cluster.client import RedisClient
from app.cluster.keys import sessions_key
from app.cluster.link import unavailable
from app.cluster.scripts import JOIN, REFRESH
from app.errors import SessionLimit, Unavailable
from app.write_behind import WriteBehind

REFRESHES_PER_LIFE = 3
SLICE = 200  # users that are refreshed before the loop gets a turn
PAUSE_S = 0.005
SEPARATOR = "::"

logger = logging.getLogger(__name__)


class RedisPresence:
    """`run` must be running. `alive` says which of some nodes are there right now."""

    def __init__(
        self,
        client: RedisClient,
        *,
        node: str,
        life_ms: int,
        alive: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
    ) -> None:
        self._client = client
        self._node = node
        self._life_ms = life_ms
        self._alive = alive
        self._users: dict[str, set[str]] = {}
        self._left: WriteBehind[tuple[str, str]] = WriteBehind(self._remove, gather_s=0.0, pause_s=PAUSE_S)
        self._refresh_now = asyncio.Event()
        client.on_up(lambda channels: self.refresh_soon())

    async def join(self, user: str, session_id: str, limit: int) -> None:
        """Counts a session in. Raises SessionLimit, and Unavailable where it cannot be known.

        A node that died may still have entries: who is refused because of them may come again, and gets in when they
        have faded.
        """
        reply = await self._join(user, session_id, limit)
        if not reply[0] and self._left:  # his own may be among those who left
            await self._left.flush()
            reply = await self._join(user, session_id, limit)
        if reply[0]:
            self._users.setdefault(user, set()).add(session_id)
            return
        others = {member.decode(errors="replace").partition(SEPARATOR)[0] for member in reply[1]} - {self._node}
        gone = others - set(await self._alive(sorted(others)))
        if gone:
            raise unavailable(f"{user} has sessions on nodes that are away; they count for {self._life_ms} ms")
        raise SessionLimit(f"{user} has {limit} sessions, the limit")

    async def _join(self, user: str, session_id: str, limit: int) -> Any:
        key = sessions_key(user)
        try:
            return await self._client.run_script(JOIN, (key,), self._member(session_id), limit, self._life_ms)
        except Unavailable:
            self._left.note((user, session_id))  # it may have been counted all the same
            raise

    def leave(self, user: str, session_id: str) -> None:
        """Instant, written behind; of a session that never joined it is no error."""
        sessions = self._users.get(user)
        if sessions is not None:
            sessions.discard(session_id)
            if not sessions:
                del self._users[user]
        self._left.note((user, session_id))

    def refresh_soon(self) -> None:
        """The entries may be gone."""
        self._refresh_now.set()

    async def flush(self) -> None:
        """Raises Unavailable."""
        await self._left.flush()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._left.run())
            group.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        period_s = self._life_ms / 1000 / REFRESHES_PER_LIFE
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self._refresh_now.wait()
            self._refresh_now.clear()
            try:
                await self._refresh()
            except Unavailable as error:
                logger.info("sessions are not refreshed: %s", error)

    async def _refresh(self) -> None:
        """In slices, so that many sessions hold up neither this loop nor Redis.

        Raises Unavailable, after all that could be refreshed are: of a cluster one server alone may be away.
        """
        users = list(self._users)
        failed: BaseException | None = None
        for start in range(0, len(users), SLICE):
            refreshing = (self._refresh_user(user) for user in users[start : start + SLICE])
            for result in await asyncio.gather(*refreshing, return_exceptions=True):
                failed = result or failed
        if failed is not None:
            raise failed

    async def _refresh_user(self, user: str) -> None:
        members = [self._member(session_id) for session_id in self._users.get(user, ())]
        if members:
            await self._client.run_script(REFRESH, (sessions_key(user),), self._life_ms, *members)

    async def _remove(self, left: Sequence[tuple[str, str]]) -> None:
        """One command for each user."""
        users: dict[str, list[str]] = {}
        for user, session_id in left:
            if session_id not in self._users.get(user, ()):
                users.setdefault(sessions_key(user), []).append(self._member(session_id))
        await asyncio.gather(*(self._client.call(key, "ZREM", key, *members) for key, members in users.items()))

    def _member(self, session_id: str) -> str:
        return f"{self._node}{SEPARATOR}{session_id}"
