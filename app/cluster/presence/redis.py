"""The sessions of each user across all nodes: one entry per session, which expires unless its node refreshes it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.cluster.control.redis import RedisControl
from app.cluster.keys import devices_key, head_key, sessions_key
from app.cluster.members import Members
from app.cluster.scripts import JOIN, REFRESH
from app.errors import SessionLimit, Unavailable
from app.gateway.control import Question
from app.gateway.overdue import EndOverdue, Verdict, all_are_alive, check_twice
from app.redis.client import RedisClient
from app.redis.connection import Argument, ignore_result, unavailable
from app.timing.write_behind import WriteBehind

REFRESHES_PER_TTL = 3
SLICE = 200  # users refreshed per event-loop turn
PAUSE_S = 0.005
SEPARATOR = "::"
REPLACED, OVERDUE = "replaced", "overdue"

logger = logging.getLogger(__name__)


class Device(NamedTuple):
    """The client-id of a session's CONNECT, and the turn of the session among those of its device (ms, growing)."""

    client_id: str
    turn: int


class RedisPresence:
    """Presence in Redis. `run` must be running: it refreshes entries and removes those of ended sessions."""

    def __init__(self, client: RedisClient, *, node: str, ttl_ms: int, members: Members, control: RedisControl) -> None:
        self._client = client
        self._node = node
        self._ttl_ms = ttl_ms
        self._nodes = members
        self._control = control
        self._users: dict[str, dict[str, Device | None]] = {}
        self._left: WriteBehind[tuple[str, str]] = WriteBehind(self._remove, gather_s=0.0, pause_s=PAUSE_S)
        self._refresh_now = asyncio.Event()
        self.on_head: Callable[[str, int], None] = lambda user, head: None
        """Called with the seq of a user's latest message, in stream order with published messages."""
        self.on_replaced: Callable[[str], None] = lambda session_id: None
        self.end_overdue: EndOverdue = all_are_alive
        client.on_up(lambda channels: self.refresh_soon())
        control.on(REPLACED, self._answer_replaced)
        control.on(OVERDUE, self._answer_overdue)

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        """Count a session in, and return the session of this node that it replaced.

        Raises SessionLimit, and Unavailable if the number of sessions cannot be determined.

        Sessions of dead nodes do not count. If such a node was only disconnected from Redis, it counts its sessions
        again when it reconnects, and the user exceeds the limit until enough sessions have ended.
        """
        reply = await self._join(user, session_id, limit, client_id)
        if not reply[0] and self._left:  # the user's ended sessions may not be removed yet
            await self._left.flush()
            reply = await self._join(user, session_id, limit, client_id)
        if not reply[0] and (dead := await self._members_of_dead_nodes(reply[1])):
            reply = await self._join(user, session_id, limit, client_id, *dead)
        while not reply[0]:
            ended = await self._end_overdue(user, limit, reply[1])
            reply = await self._join(user, session_id, limit, client_id, *ended)
        _, turn, replaced = reply
        self._users.setdefault(user, {})[session_id] = None if client_id is None else Device(client_id, turn)
        if client_id is not None:
            self._confirm(user)
        return await self._tell_replaced(replaced.decode(errors="replace")) if replaced else None

    async def _join(self, user: str, session_id: str, limit: int, client_id: str | None, *ended: Argument) -> Any:
        keys = sessions_key(user), devices_key(user)
        member, device = self._member(session_id), client_id or ""
        try:
            return await self._client.run_script(JOIN, keys, member, limit, self._ttl_ms, device, *ended)
        except Unavailable:
            self._left.note((user, session_id))  # Redis may have counted the session
            raise

    # Sessions of other nodes

    async def _tell_replaced(self, member: str) -> str | None:
        """Return the session if it is of this node. Otherwise tell its node, which also learns it when it refreshes."""
        node, _, session_id = member.partition(SEPARATOR)
        if node == self._node:
            return session_id
        with contextlib.suppress(Unavailable):
            await self._control.tell(node, REPLACED, {"session": session_id})
        return None

    def _answer_replaced(self, question: Question) -> list[Any]:
        self.on_replaced(question["session"])
        return []

    async def _members_of_dead_nodes(self, members: Sequence[bytes]) -> Sequence[bytes]:
        """Return the members whose node is not alive. Raises Unavailable."""
        nodes = [_node_of(member) for member in members]
        living = {self._node, *await self._nodes.living(sorted({*nodes} - {self._node}))}
        return [member for member, node in zip(members, nodes, strict=True) if node not in living]

    async def _end_overdue(self, user: str, limit: int, members: Sequence[bytes]) -> Sequence[str]:
        """End an overdue session of the user and return its member.

        Raises SessionLimit if all sessions are alive, and Unavailable if a node did not reply.
        """
        others = sorted({_node_of(member) for member in members} - {self._node})
        unanswered: list[str] = []

        async def check(again: bool) -> Verdict:
            here = self._overdue_here(user, again)
            if here.ended or not others:
                return here
            answers = await self._control.ask(OVERDUE, {"user": user, "again": again}, nodes=others)
            unanswered[:] = answers.unanswered
            verdicts = [here, *(Verdict(**item) for item in answers.items)]
            ended = [member for verdict in verdicts for member in verdict.ended]
            return Verdict(ended, any(verdict.asked for verdict in verdicts))

        ended = await check_twice(check)
        if ended:
            return ended
        if unanswered:
            raise unavailable(f"{user} has sessions on nodes that do not reply: {', '.join(unanswered)}")
        raise SessionLimit(f"{user} has {limit} sessions, the limit")

    def _overdue_here(self, user: str, again: bool) -> Verdict:
        verdict = self.end_overdue(user, again)
        return verdict._replace(ended=[self._member(session_id) for session_id in verdict.ended])

    def _answer_overdue(self, question: Question) -> list[Any]:
        return [self._overdue_here(question["user"], question["again"])._asdict()]

    # Lifetime of entries

    def leave(self, user: str, session_id: str) -> None:
        """Count a session out. Redis is told later; unknown sessions are ignored."""
        sessions = self._users.get(user)
        if sessions is not None:
            sessions.pop(session_id, None)
            if not sessions:
                del self._users[user]
        self._left.note((user, session_id))

    def refresh_soon(self) -> None:
        """Have `run` refresh all entries now, because Redis may have lost them."""
        self._refresh_now.set()

    async def flush(self) -> None:
        """Remove the entries of ended sessions from Redis. Raises Unavailable."""
        await self._left.flush()

    async def run(self) -> None:
        """Refresh and remove entries until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._left.run())
            group.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        period_s = self._ttl_ms / 1000 / REFRESHES_PER_TTL
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self._refresh_now.wait()
            self._refresh_now.clear()
            try:
                await self._refresh()
            except Unavailable as error:
                logger.info("sessions were not refreshed: %s", error)

    async def _refresh(self) -> None:
        """Refresh all entries, SLICE users at a time, so that neither the event loop nor Redis is blocked for long.

        Raises Unavailable after refreshing what it can: one server of a Redis Cluster may be away.
        """
        users = list(self._users)
        failed: BaseException | None = None
        for start in range(0, len(users), SLICE):
            refreshing = (self._refresh_user(user) for user in users[start : start + SLICE])
            for result in await asyncio.gather(*refreshing, return_exceptions=True):
                failed = result or failed
        if failed is not None:
            raise failed

    def _confirm(self, user: str) -> None:
        """Refresh the user's entries without waiting: only a refreshed session ends an older one of its device."""
        keys, arguments = _refresh_keys(user), self._refresh_arguments(user)
        with contextlib.suppress(Unavailable):
            self._client.send_script(REFRESH, keys, self._ttl_ms, *arguments).add_done_callback(ignore_result)

    def _refresh_arguments(self, user: str) -> Sequence[Argument]:
        arguments: list[Argument] = []
        for session_id, device in self._users.get(user, {}).items():
            arguments += self._member(session_id), *(device or ("", 0))
        return arguments

    async def _refresh_user(self, user: str) -> None:
        if arguments := self._refresh_arguments(user):
            keys = _refresh_keys(user)
            replaced, _ = await self._client.run_script(
                REFRESH, keys, self._ttl_ms, *arguments, on_reply=lambda reply: self.on_head(user, reply[1])
            )
            for member in replaced:
                self.on_replaced(member.decode().partition(SEPARATOR)[2])

    async def _remove(self, left: Sequence[tuple[str, str]]) -> None:
        """Remove entries with one command per user."""
        users: dict[str, list[str]] = {}
        for user, session_id in left:
            if session_id not in self._users.get(user, ()):
                users.setdefault(sessions_key(user), []).append(self._member(session_id))
        await asyncio.gather(*(self._client.call(key, "ZREM", key, *members) for key, members in users.items()))

    def _member(self, session_id: str) -> str:
        return f"{self._node}{SEPARATOR}{session_id}"


def _refresh_keys(user: str) -> tuple[str, str, str]:
    return sessions_key(user), devices_key(user), head_key(user)


def _node_of(member: bytes) -> str:
    return member.decode(errors="replace").partition(SEPARATOR)[0]
