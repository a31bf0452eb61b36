"""Publish to all nodes, once per id, and name the nodes that could not receive it."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from app.cluster.keys import EVERYBODY, broadcast_mark_key
from app.cluster.members import Members, count_of
from app.cluster.scripts import BROADCAST
from app.errors import IdConflict, Unavailable
from app.hub.publication import Published
from app.redis.client import RedisClient
from app.redis.connection import unavailable

MARK_TTL_MS = 3_600_000  # retries come within minutes; the final answer to an Idempotency-Key is stored for longer
OUTCOME = " unreached:"
RETURN_S = 5.0  # a live node reconnects within this time: the longest delay between attempts, and one attempt


class Once(NamedTuple):
    """The id of a message that is published once, and the digest of its content."""

    id: str
    digest: int


class _Heard(NamedTuple):
    """The number of nodes that listened; `seq`: see `Publication`."""

    listeners: int
    seq: int = 0


class Broadcaster:
    """Publishes messages to all nodes, and finds out which nodes missed them."""

    def __init__(self, client: RedisClient, members: Members, *, node: str) -> None:
        self._client = client
        self._members = members
        self._node = node
        self._silent_since_s: dict[str, float] = {}
        client.on_up(lambda channels: self._silent_since_s.clear())

    async def broadcast(self, channel: str, payload: bytes, once: Once | None) -> Published:
        """Publish on EVERYBODY, with a seq of the server's clock, or on the channel of a topic.

        `payload` is a label and a JSON object, into which the script writes the seq.

        Raises Unavailable, also if no other member listens, until the members had RETURN_S to reconnect. Raises
        IdConflict if the id was published with other content.
        """
        if channel == EVERYBODY:
            return await self._tell_all(payload, once)
        # Only nodes with subscribers listen to a topic: their number does not tell whether the others are connected.
        unreached: Sequence[str] = ()
        if self._members.expected:
            unreached = await self._unreached(await self._listeners())
        if once is None:
            await self._client.publish(channel, payload)
            return Published(unreached)
        heard = await self._run(channel, payload, once, least=0)
        if isinstance(heard, Published):
            return heard
        self._note_outcome(channel, once, unreached)
        return Published(unreached)

    async def _tell_all(self, payload: bytes, once: Once | None) -> Published:
        least = 2 if self._members.expected else 0  # this node and another
        heard = await self._run(EVERYBODY, payload, once, least=least)
        if isinstance(heard, Published):
            return heard
        unreached = await self._unreached(heard.listeners)
        if once is not None:
            self._note_outcome(EVERYBODY, once, unreached)
        return Published(unreached, seq=heard.seq)

    async def _run(self, channel: str, payload: bytes, once: Once | None, *, least: int) -> _Heard | Published:
        """Return Published if the id was published before. Raises IdConflict.

        A mark of this node without an outcome means that the reply to its first attempt was lost before its own
        sessions got the message: the message counts as published now.
        """
        label, brace, fields = payload.partition(b"\n{")
        reply = await self._client.run_script(
            BROADCAST,
            (broadcast_mark_key(channel, once.id if once else ""),),
            self._mark(once) if once else "",
            MARK_TTL_MS,
            channel,
            self._client.publish_verb,
            label + brace + b'"seq":',
            b"," + fields,
            least,
        )
        return await self._known(reply.decode(), once) if once and isinstance(reply, bytes) else _Heard(*reply)

    async def _known(self, mark: str, once: Once) -> _Heard | Published:
        """Read the mark of a publication: `<digest> <node>`, and with an outcome also ` unreached:<node>,…`."""
        digest, _, rest = mark.partition(" ")
        if digest != str(once.digest):
            raise IdConflict(f"the id {once.id} was pushed before with other content")
        node, has_outcome, names = rest.partition(OUTCOME)
        if has_outcome:
            return Published(names.split(",") if names else (), is_repeat=True)
        if node == self._node:
            return _Heard(await self._listeners())
        # The sessions of that node get the message once Redis has replied, which may never have happened.
        return Published([node] if node in self._members.expected else (), is_repeat=True)

    def _mark(self, once: Once) -> str:
        return f"{once.digest} {self._node}"

    def _note_outcome(self, channel: str, once: Once, unreached: Sequence[str]) -> None:
        """Let repeats on other nodes return the same. Not awaited: a repeat that finds no outcome names this node."""
        key = broadcast_mark_key(channel, once.id)
        with contextlib.suppress(Unavailable):
            self._client.send(key, "SET", key, self._mark(once) + OUTCOME + ",".join(unreached), "PX", MARK_TTL_MS)

    # Listeners

    async def _listeners(self) -> int:
        """Return the number of nodes that listen to EVERYBODY."""
        return count_of(await self._client.call(EVERYBODY, *self._client.count_verbs, EVERYBODY))

    async def _unreached(self, listeners: int) -> Sequence[str]:
        """Return the members that may be missing among `listeners`, the number of nodes that listen to EVERYBODY.

        Raises Unavailable if only this node listens, and the others may reconnect soon.
        """
        others = listeners - (EVERYBODY in self._client.subscriptions)
        if others >= len(self._members.expected):
            self._silent_since_s.clear()
            return ()
        try:
            expected, silent = await self._ask_members()
        except Unavailable:
            if others <= 0:
                raise
            return self._members.expected  # some nodes have received it
        now_s = asyncio.get_running_loop().time()
        self._silent_since_s = {node: self._silent_since_s.get(node, now_s) for node in silent}
        may_return = any(now_s - since_s < RETURN_S for since_s in self._silent_since_s.values())
        if others <= 0 and expected and (may_return or not silent):
            raise unavailable("no other node receives broadcasts now")
        # If fewer are silent than were missing, some reconnected in between: any of them may have missed it.
        return silent if len(silent) >= len(expected) - others else expected

    async def _ask_members(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the current members, and those of them without a connection."""
        await self._members.poll()
        expected = self._members.expected
        answering = await self._members.answering(expected)
        return expected, [node for node in expected if node not in answering]
