"""The inbox in Redis, which every node can read, and through which every node hears of new messages."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from app.clock import Clock
from app.cluster.client import RedisClient
from app.cluster.keys import full_mark_key, inbox_key, read_mark_key, user_channel
from app.cluster.scripts import PENDING, PUT
from app.cluster.wire import Kind, decode_entry, encode_envelope, label
from app.delivery.inbox import InboxLimits, Keep, Placed, inbox_full
from app.errors import Unavailable
from app.messages.message import Envelope
from app.write_behind import PartlyWritten, WriteBehind

KNOWN, FULL = -1, -2
PART_BYTES = 1_048_576  # of one answer: Redis cuts off subscribers for whom it has to buffer too much
PAUSE_S = 0.005
FAILOVER_S = 10.0  # by so much can a replica be behind when it takes over

logger = logging.getLogger(__name__)


class RedisInbox:
    """`run` must be running: it removes behind. `replicas` have to have a message before it counts as safe."""

    def __init__(self, client: RedisClient, *, limits: InboxLimits, clock: Clock, node: str, replicas: int = 0) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._replicas = replicas
        self._label = label(Kind.MESSAGE, node)
        self._removed: WriteBehind[tuple[str, str]] = WriteBehind(
            self._remove, gather_s=0.0, pause_s=PAUSE_S, remember_s=FAILOVER_S
        )
        client.on_up(lambda channels: self._remove_again())

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._removed.run()

    async def flush(self) -> None:
        """Raises Unavailable."""
        await self._removed.flush()

    @property
    def unapplied(self) -> int:
        """Removals that Redis does not know of yet."""
        return len(self._removed)

    async def put(self, envelope: Envelope, *, keep: Keep = Keep.ALWAYS) -> Placed:
        receiver, message_id = envelope.receiver, envelope.message.id
        if (receiver, message_id) in self._removed:
            await self._removed.flush()
        reply = await self._put(envelope, keep)
        if reply[0] == FULL and self._removed:
            await self._removed.flush()
            reply = await self._put(envelope, keep)
        if reply[0] == FULL:
            raise inbox_full(receiver, self._limits.max_messages)
        unsafe = None if keep is Keep.NEVER else await self._unsafe(receiver)  # also if it is known: that may be why
        if reply[0] == KNOWN:
            return Placed(known=decode_entry(reply[1])[1], unsafe=unsafe)
        heard, kept = reply
        others = heard - (user_channel(receiver) in self._client.channels)
        return Placed(others=others, kept=bool(kept), unsafe=unsafe)

    async def _unsafe(self, receiver: str) -> Unavailable | None:
        """Why what was stored just now may be lost."""
        if self._replicas:
            try:
                await self._client.replicated(inbox_key(receiver), self._replicas)
            except Unavailable as error:
                return error
        return None

    async def _put(self, envelope: Envelope, keep: Keep) -> Any:
        receiver = envelope.receiver
        return await self._client.run_script(
            PUT,
            (inbox_key(receiver), full_mark_key(receiver)),
            envelope.message.id,
            encode_envelope(envelope),
            envelope.expires_ms,
            self._limits.max_messages,
            self._clock.epoch_ms(),
            user_channel(receiver),
            self._client.publish_verb,
            self._label,
            keep.value,
        )

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        """In the order in which Redis accepted them. What was removed and is still there is passed over."""
        key = inbox_key(receiver)
        mark, complete, values = await self._client.run_script(PENDING, (key, read_mark_key(receiver)), PART_BYTES)
        if not complete:
            values = [value for part in _parts(values) for value in await self._client.call(key, "HMGET", key, *part)]
        read_us = int(mark) if mark.isdigit() else 0
        entries = sorted(_decoded(values, read_us), key=lambda entry: (entry[0], entry[1].message.id))
        return tuple(
            envelope
            for _, envelope in entries
            if envelope.expires_ms > now_ms and (receiver, envelope.message.id) not in self._removed
        )

    def remove(self, receiver: str, message_id: str) -> None:
        self._removed.note((receiver, message_id))

    def _remove_again(self) -> None:
        """A replica that has taken over may lack the latest."""
        for item in self._removed.recent():
            self._removed.note(item)

    def expire(self, now_ms: int) -> None:
        """Redis does."""

    async def _remove(self, items: Sequence[tuple[str, str]]) -> None:
        """One command for each user. Raises PartlyWritten: of a cluster one server alone may be away."""
        users: dict[str, list[str]] = {}
        for receiver, message_id in items:
            users.setdefault(receiver, []).append(message_id)
        keys = {inbox_key(receiver): ids for receiver, ids in users.items()}
        removing = (self._client.call(key, "HDEL", key, *ids) for key, ids in keys.items())
        results = await asyncio.gather(*removing, return_exceptions=True)
        failed = {user: result for user, result in zip(users, results, strict=True) if isinstance(result, Exception)}
        if failed:
            left = [(receiver, message_id) for receiver, message_id in items if receiver in failed]
            raise PartlyWritten(str(next(iter(failed.values()))), left)


def _decoded(values: Iterable[bytes | None], read_us: int) -> Iterable[tuple[int, Envelope]]:
    """With the time when each was accepted. What is no message of ours is left where it is."""
    for value in values:
        if value is None:  # it went away while the others were read
            continue
        try:
            yield decode_entry(value, read_us=read_us)
        except ValueError as error:
            logger.warning("an entry of an inbox cannot be read: %s", error)


def _parts(sizes: Sequence[tuple[bytes, int]]) -> Iterable[list[bytes]]:
    """Ids of so many messages at a time as make a part."""
    part: list[bytes] = []
    total = 0
    for message_id, size in sizes:
        if part and total + size > PART_BYTES:
            yield part
            part, total = [], 0
        part.append(message_id)
        total += size
    yield part
