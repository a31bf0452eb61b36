"""Presence of a single node, in memory."""

from collections.abc import Callable
from functools import partial

from app.errors import SessionLimit
from app.gateway.overdue import EndOverdue, Verdict, all_are_alive, check_twice


class MemoryPresence:
    """The sessions of each user on this node, the only one."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, str | None]] = {}
        self._devices: dict[tuple[str, str], str] = {}
        self.on_replaced: Callable[[str], None] = lambda session_id: None
        self.end_overdue: EndOverdue = all_are_alive

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        while (replaced := self._devices.get((user, client_id or ""))) is None:
            if len(self._users.get(user, ())) < limit:
                break
            if not await check_twice(partial(self._check, user)):
                raise SessionLimit(f"{user} has {limit} sessions, the limit")
        if replaced is not None:
            self.leave(user, replaced)
        self._users.setdefault(user, {})[session_id] = client_id
        if client_id is not None:
            self._devices[user, client_id] = session_id
        return replaced

    async def _check(self, user: str, again: bool) -> Verdict:
        return self.end_overdue(user, again)

    def leave(self, user: str, session_id: str) -> None:
        sessions = self._users.get(user)
        if sessions is None or session_id not in sessions:
            return
        client_id = sessions.pop(session_id)
        if client_id is not None:
            del self._devices[user, client_id]
        if not sessions:
            del self._users[user]
