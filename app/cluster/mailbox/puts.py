"""Puts messages into mailboxes in Redis. The messages of one event-loop turn share a script.

Single messages and batches take the same way. If a shared script fails, each message that was not accepted is sent
again in a script of its own. So a user with broken keys, or a slot that moves, does not affect other users.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from hiredis import ReplyError

from app.cluster.keys import DESCRIPTIONS, known_key, user_keys
from app.cluster.scripts import PUT
from app.cluster.wire import Kind as MessageKind
from app.cluster.wire import encode_envelope, label
from app.delivery.description import description
from app.delivery.mailbox import GIVEN, Keep, Kind, MailboxLimits, Placed
from app.errors import Unavailable
from app.messages.message import Envelope
from app.redis.client import RedisClient
from app.redis.connection import Argument
from app.timing.clock import Clock

KNOWN = -1
# Redis does nothing else while a script runs, about 10 µs per message.
PUTS_AT_ONCE, BYTES_AT_ONCE = 100, 262_144
FLUSH_S = 0.0005  # a longer event-loop turn sends its messages early, so that Redis works in parallel

logger = logging.getLogger(__name__)


class Put:
    """A message to put. `done` yields where it was placed, or None if the inbox is full."""

    __slots__ = ("described", "digest", "done", "envelope", "keep", "kind", "on_accepted")

    def __init__(
        self, envelope: Envelope, keep: Keep, kind: Kind, digest: str, on_accepted: Callable[[Placed], None]
    ) -> None:
        self.envelope = envelope
        self.keep = keep
        self.kind = kind
        self.digest = digest
        self.on_accepted = on_accepted
        self.described = ""
        self.done: asyncio.Future[Placed | None]


class RedisPuts:
    """Collects and sends puts. Messages of one user are accepted in the order of `send`."""

    def __init__(self, client: RedisClient, *, limits: MailboxLimits, clock: Clock, node: str) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._label = label(MessageKind.MESSAGE, node)
        self._waiting: list[Put] = []
        self._due_s = 0.0

    async def send(self, put: Put) -> Placed | None:
        """Return where the message was placed, None if the inbox is full. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        put.done = loop.create_future()
        if not self._client.is_sharded:
            put.described = description(put.envelope)
        self._waiting.append(put)
        if len(self._waiting) == 1:
            self._due_s = self._clock.monotonic() + FLUSH_S
            loop.call_soon(self._flush)
        elif self._clock.monotonic() > self._due_s:
            self._flush()
        try:
            return await put.done
        except ReplyError:
            return await self._send_alone(put)

    async def _send_alone(self, put: Put) -> Placed | None:
        """Put one message in a script of its own, following redirections.

        Its own subscription may be on another server after a slot has moved, so the script publishes in any case.
        """
        put.done = asyncio.get_running_loop().create_future()
        keys, arguments = self._command([[put]], may_skip_own=False)
        await self._client.run_script(PUT, keys, *arguments, on_reply=partial(self._settle, [put]))
        return put.done.result()

    # Sending the puts of one event-loop turn

    def _flush(self) -> None:
        if not self._waiting:
            return
        users: dict[str, list[Put]] = {}
        for put in self._waiting:
            users.setdefault(put.envelope.receiver, []).append(put)
        self._waiting = []
        for groups in _scripts(users.values(), 1 if self._client.is_sharded else PUTS_AT_ONCE):
            self._send_together(groups)

    def _send_together(self, groups: Sequence[Sequence[Put]]) -> None:
        puts = [put for group in groups for put in group]
        keys, arguments = self._command(groups)
        try:
            sent = self._client.send_script(PUT, keys, *arguments, on_reply=partial(self._settle, puts))
        except Unavailable as error:
            _fail(puts, error)
        else:
            sent.add_done_callback(partial(_finish, puts))

    def _command(
        self, groups: Sequence[Sequence[Put]], *, may_skip_own: bool = True
    ) -> tuple[list[str], list[Argument]]:
        """Return the keys and arguments of the script; each group is of one user."""
        limits, channels, now_ms = self._limits, self._client.subscriptions, self._clock.epoch_ms()
        keys: list[str] = [] if self._client.is_sharded else [*DESCRIPTIONS]
        items: list[Argument] = []
        arguments: list[Argument] = [self._client.publish_verb, self._label, limits.max_messages, limits.window_ms]
        arguments += limits.remember_ms, len(keys), len(groups)
        for group in groups:
            user = user_keys(group[0].envelope.receiver)
            keys += user.put
            arguments += user.channel, int(may_skip_own and user.channel in channels), len(group)
            for put in group:
                envelope, described = put.envelope, put.described
                message_id = envelope.message.id
                if put.kind is GIVEN:
                    keys.append(known_key(envelope.receiver, message_id))
                text, ttl_ms = encode_envelope(envelope)[:-1], envelope.expires_ms - now_ms
                items += message_id, text, ttl_ms, put.keep, put.kind, put.digest, described
        return keys, arguments + items

    def _settle(self, puts: Sequence[Put], reply: Sequence[Any]) -> None:
        """Handle a reply in stream order. It may be shorter than `puts`; the rest was not accepted."""
        numbers = iter(reply)
        for put, heard, kept, seq, previous, acked_ms in zip(
            puts, numbers, numbers, numbers, numbers, numbers, strict=False
        ):
            placed = None
            if heard >= 0:
                placed = self._accept(put, heard, bool(kept), seq, previous, acked_ms)
            elif heard == KNOWN:
                placed = Placed(known=kept.decode())
            if not put.done.done():  # not cancelled
                put.done.set_result(placed)

    def _accept(self, put: Put, heard: int, is_kept: bool, seq: int, previous: int, acked_ms: int) -> Placed:
        envelope = put.envelope
        envelope.seq = seq
        if acked_ms:
            envelope.acked_ms = acked_ms
        is_heard_here = user_keys(envelope.receiver).channel in self._client.subscriptions
        placed = Placed(seq, previous, max(0, heard - is_heard_here), is_kept)
        try:
            put.on_accepted(placed)
        except Exception:  # the outer edge: a failing callback must not stop the other messages
            logger.exception("message %s could not be handled", envelope.message.id)
        return placed


def _scripts(users: Iterable[list[Put]], at_once: int) -> Iterator[list[list[Put]]]:
    """Yield the groups, of one user each, that share a script."""
    groups: list[list[Put]] = []
    count = size = 0
    for puts in users:
        for group, group_size in _groups(puts):
            if groups and (count + len(group) > at_once or size + group_size > BYTES_AT_ONCE):
                yield groups
                groups, count, size = [], 0, 0
            groups.append(group)
            count += len(group)
            size += group_size
    yield groups


def _groups(puts: list[Put]) -> Iterator[tuple[list[Put], int]]:
    """Split the messages of one user into groups that fit into a script. Return each with its size in bytes.

    Redis sends nothing while a script runs, and disconnects a subscriber whose buffer grows too large.
    """
    start = size = 0
    for end, put in enumerate(puts):
        more = len(put.envelope.encoder)
        if end > start and (end - start == PUTS_AT_ONCE or size + more > BYTES_AT_ONCE):
            yield puts[start:end], size
            start, size = end, 0
        size += more
    yield puts[start:], size


def _finish(puts: Sequence[Put], sent: "asyncio.Future[Any]") -> None:
    error = sent.exception() or ReplyError("the script ended early")
    _fail(puts, error)


def _fail(puts: Sequence[Put], error: BaseException) -> None:
    for put in puts:
        if not put.done.done():
            put.done.set_exception(error)
