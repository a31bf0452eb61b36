"""The mailbox in Redis. All nodes read it, and get new messages through it."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.cluster.keys import (
    DESCRIPTIONS,
    acknowledged_key,
    head_key,
    inbox_key,
    log_key,
    message_key,
    user_keys,
)
from app.cluster.mailbox.puts import Put, RedisPuts
from app.cluster.mailbox.replies import decoded, missed, parts
from app.cluster.scripts import ACKNOWLEDGE, CATCH_UP, READ
from app.delivery.description import described_by, description
from app.delivery.mailbox import Described, Fate, Keep, Kind, MailboxLimits, Missed, Placed, inbox_full
from app.errors import Unavailable
from app.messages.message import Envelope
from app.redis.client import RedisClient
from app.redis.connection import Argument
from app.timing.clock import Clock
from app.timing.write_behind import PartlyWritten, WriteBehind

USERS_AT_ONCE = 100  # whose acknowledgements share a script, during which Redis does nothing else
# Redis disconnects subscribers whose output buffer grows too large, 32 MB by default.
READ_BYTES = 32_768  # per reply for a new session; many may come at once
PART_BYTES, PARTS_AT_ONCE = 1_048_576, 8  # of inboxes larger than READ_BYTES
PAGE_BYTES = 131_072  # per reply to a node that catches up, which asks for many users at once
LOGGED = 300  # the most log entries read for a new session
MAX_REMEMBERED = 2_000  # acknowledgements of one user
PAUSE_S = 0.005
FAILOVER_S = 10.0  # the most that a promoted replica lags behind

logger = logging.getLogger(__name__)


class RedisMailbox:
    """The mailbox as one node sees it. `run` must be running: it writes acknowledgements behind.

    `replicas`: the number of replicas that must have a message before it counts as safe.
    """

    is_durable = True

    def __init__(
        self, client: RedisClient, *, limits: MailboxLimits, clock: Clock, node: str, replicas: int = 0
    ) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._replicas = replicas
        self.remember_ms = limits.remember_ms
        self._puts = RedisPuts(client, limits=limits, clock=clock, node=node)
        self._acknowledged: WriteBehind[tuple[str, str]] = WriteBehind(
            self._write, gather_s=0.0, pause_s=PAUSE_S, remember_s=FAILOVER_S
        )
        self._parts_at_once = asyncio.Semaphore(PARTS_AT_ONCE)
        client.on_up(lambda channels: self._write_again())

    async def run(self) -> None:
        """Write acknowledgements until cancelled."""
        await self._acknowledged.run()

    async def flush(self) -> None:
        """Write the acknowledgements that wait. Raises Unavailable."""
        await self._acknowledged.flush()

    @property
    def unapplied(self) -> int:
        """The number of acknowledgements that are not in Redis yet."""
        return len(self._acknowledged)

    # Accepting

    async def put(
        self,
        envelope: Envelope,
        *,
        keep: Keep = Keep.ALWAYS,
        kind: Kind = Kind.NEW,
        digest: str = "",
        on_accepted: Callable[[Placed], None] = lambda placed: None,
    ) -> Placed:
        put = Put(envelope, keep, kind, digest, on_accepted)
        placed = await self._puts.send(put)
        if placed is None and self._acknowledged:
            await self._acknowledged.flush()
            placed = await self._puts.send(put)
        if placed is None:
            raise inbox_full(envelope.receiver, self._limits.max_messages)
        return await self._settled(envelope, placed, put.described)

    async def _settled(self, envelope: Envelope, placed: Placed, described: str) -> Placed:
        if not described and placed.known is None:  # in a Redis Cluster the description is in another slot
            self._describe(envelope, placed)
        if not self._replicas:
            return placed
        unsafe = await self._unsafe(envelope.receiver)  # also for a known id: its first attempt may have failed here
        return placed._replace(unsafe=unsafe)

    def _describe(self, envelope: Envelope, placed: Placed) -> None:
        key = message_key(envelope.message.id)
        heard = placed.others + (user_keys(envelope.receiver).channel in self._client.subscriptions)
        text = f"{description(envelope)}{heard}"
        with suppress(Unavailable):
            self._client.send(key, "SET", key, text, "PX", self._limits.remember_ms)

    async def _unsafe(self, receiver: str) -> Unavailable | None:
        """Return the reason why a message just stored may be lost, or None."""
        try:
            await self._client.replicated(inbox_key(receiver), self._replicas)
        except Unavailable as error:
            return error
        return None

    # Reading

    async def read(self, user: str, now_ms: int, on_head: Callable[[int], None]) -> Sequence[Envelope]:
        key = inbox_key(user)
        keys = key, log_key(user), head_key(user), acknowledged_key(user)
        _, unread, complete, values, logged, server_ms = await self._client.run_script(
            READ, keys, READ_BYTES, LOGGED, on_reply=lambda reply: on_head(int(reply[0]))
        )
        if not complete:
            values = await self._in_parts(key, values)
        unread_from = int(unread) or sys.maxsize
        envelopes = [
            envelope
            for envelope in decoded([*values, *logged], now_ms, server_ms, unread_from)
            if envelope.expires_ms > now_ms and (user, envelope.message.id) not in self._acknowledged
        ]
        return sorted(envelopes, key=lambda envelope: (envelope.seq, envelope.message.id))

    async def _in_parts(self, key: str, sizes: Sequence[tuple[bytes, int]]) -> Sequence[bytes | None]:
        values: list[bytes | None] = []
        for part in parts(sizes, PART_BYTES):
            async with self._parts_at_once:
                values += await self._client.call(key, "HMGET", key, *part)
        return values

    async def catch_up(self, user: str, cursor: int, on_answer: Callable[[Missed], None]) -> None:
        await self._client.run_script(
            CATCH_UP,
            (log_key(user), head_key(user), inbox_key(user)),
            cursor,
            PAGE_BYTES,
            on_reply=lambda reply: on_answer(missed(reply, self._clock.epoch_ms())),
        )

    # Acknowledging

    def acknowledge(self, user: str, message_id: str) -> None:
        self._acknowledged.note((user, message_id))

    def confirmation(self, user: str, message_id: str) -> Awaitable[None] | None:
        if (user, message_id) not in self._acknowledged:
            return None
        return self._acknowledged.written((user, message_id))

    def _write_again(self) -> None:
        """Write recent acknowledgements again, because a promoted replica may lack them."""
        for item in self._acknowledged.recent():
            self._acknowledged.note(item)

    async def _write(self, items: Sequence[tuple[str, str]]) -> None:
        """Write acknowledgements, many users per script.

        Raises PartlyWritten with those that failed: one server of a Redis Cluster may be away.
        """
        users: dict[str, list[str]] = {}
        for user, message_id in items:
            users.setdefault(user, []).append(message_id)
        failed: dict[str, BaseException] = {}
        for user in await self._write_together(users):
            try:  # run_script also handles a missing script and redirections
                await self._client.run_script(ACKNOWLEDGE, *self._acknowledgement(users, [user]))
            except Unavailable as error:
                failed[user] = error
        if failed:
            left = [(user, message_id) for user, message_id in items if user in failed]
            raise PartlyWritten(str(next(iter(failed.values()))), left)

    async def _write_together(self, users: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Write users in batches. Return the users whose acknowledgements were not written."""
        names, at_once = list(users), 1 if self._client.is_sharded else USERS_AT_ONCE
        parts = [names[start : start + at_once] for start in range(0, len(names), at_once)]
        left: list[str] = []
        sent: list[tuple[list[str], asyncio.Future[Any]]] = []
        for part in parts:
            try:
                sent.append((part, self._client.send_script(ACKNOWLEDGE, *self._acknowledgement(users, part))))
            except Unavailable:
                left += part
        results = await asyncio.gather(*(done for _, done in sent), return_exceptions=True)
        for (part, _), done in zip(sent, results, strict=True):
            left += part[0 if isinstance(done, BaseException) else done :]
        return left

    def _acknowledgement(self, ids: Mapping[str, Sequence[str]], users: Sequence[str]) -> tuple[Any, ...]:
        keys: list[str] = []
        arguments: list[Argument] = [self._limits.remember_ms, MAX_REMEMBERED]
        for user in users:
            keys += user_keys(user).acknowledge
            arguments += len(ids[user]), *ids[user]
        return keys, *arguments

    async def acknowledged(self, user: str, ids: Sequence[str]) -> Sequence[bool]:
        key = acknowledged_key(user)
        scores = await self._client.call(key, "ZMSCORE", key, *ids) if ids else ()
        return [
            score is not None or (user, message_id) in self._acknowledged
            for message_id, score in zip(ids, scores, strict=True)
        ]

    async def find(self, message_id: str) -> Described | None:
        key, call = message_key(message_id), self._client.call
        if self._client.is_sharded:
            texts = [await call(key, "GET", key)]
        else:
            texts = await asyncio.gather(*(call(key, "HGET", key, message_id) for key in DESCRIPTIONS))
        return next((described_by(text.decode(errors="replace")) for text in texts if text is not None), None)

    async def fate(self, user: str, message_id: str) -> Fate:
        key = inbox_key(user)
        (acknowledged,), entry, (seconds, _) = await asyncio.gather(
            self.acknowledged(user, [message_id]),
            self._client.call(key, "HGET", key, message_id),
            self._client.call(key, "TIME"),
        )
        if acknowledged:
            return Fate.ACKNOWLEDGED
        waits = any(envelope.expires_ms > 0 for envelope in decoded([entry], 0, int(seconds) * 1000, sys.maxsize))
        return Fate.WAITS if waits else Fate.UNKNOWN

    # Not needed: keys expire in Redis

    def watch(self, user: str) -> None:
        """Do nothing: the head outlives the absence of a node."""

    def unwatch(self, user: str) -> None:
        pass

    def expire(self, now_ms: int) -> None:
        pass
