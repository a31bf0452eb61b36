"""A mailbox behind a link of the model, and an archive that all nodes share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec.structs import replace

from app.cluster.keys import user_channel
from app.delivery.mailbox import Fate, Keep, Kind, Missed, Placed
from app.errors import Unavailable
from app.messages.message import Envelope
from app.redis.connection import unavailable
from tests.delivery.model_link import Client
from tests.delivery.model_server import Server

PAGE = 2  # messages of one answer to a catch-up


class LinkMailbox:
    """What `RedisMailbox` does, with the commands of the model. `waits`: a replica must have what is accepted."""

    is_durable = True
    remember_ms = 600_000

    def __init__(self, client: Client, node: str, *, waits: bool) -> None:
        self.client = client
        self._node = node
        self._waits = waits
        self._acknowledged: list[tuple[str, str]] = []  # repeated to a server that has taken over
        self._unconfirmed: dict[tuple[str, str], asyncio.Future[None]] = {}
        client.on_up(lambda channels: self._write_again())

    @property
    def server(self) -> Server:
        return self.client.server

    async def put(
        self,
        envelope: Envelope,
        *,
        keep: Keep = Keep.ALWAYS,
        kind: Kind = Kind.NEW,
        digest: str = "",
        on_accepted: Callable[[Placed], None] = lambda placed: None,
    ) -> Placed:
        copy = replace(envelope)

        def on_reply(placed: Placed) -> None:
            if placed.known is None:
                envelope.seq, envelope.acked_ms = placed.seq, copy.acked_ms
                on_accepted(self._placed(envelope, placed))

        placed = await self.client.send(partial(self.server.put, self._node, copy, keep, kind, digest), on_reply)
        unsafe = None if keep is Keep.NEVER or not self._waits else await self._unsafe()
        return self._placed(envelope, placed)._replace(unsafe=unsafe)

    def _placed(self, envelope: Envelope, placed: Placed) -> Placed:
        own = user_channel(envelope.receiver) in self.client.subscriptions
        return placed._replace(others=max(0, placed.others - own))

    async def _unsafe(self) -> Unavailable | None:
        try:
            taken = await self.client.send(lambda: self.server.is_replicated())
        except Unavailable as error:
            return error
        return None if taken else unavailable("too few replicas of Redis have taken the message")

    async def read(self, user: str, now_ms: int, on_head: Callable[[int], None]) -> Sequence[Envelope]:
        _, waiting = await self.client.send(lambda: self.server.read(user), lambda reply: on_head(reply[0]))
        return [envelope for envelope in waiting if (user, envelope.message.id) not in self._unconfirmed]

    async def catch_up(self, user: str, cursor: int, on_answer: Callable[[Missed], None]) -> None:
        await self.client.send(partial(self.find_missed, user, cursor), on_answer)

    async def find(self, message_id: str) -> None:
        """Nothing outlives the log here."""

    def find_missed(self, user: str, cursor: int) -> Missed:
        """At the server."""
        return self.server.after(user, cursor, PAGE)

    # Acknowledging

    def acknowledge(self, user: str, message_id: str) -> None:
        item = user, message_id
        self._acknowledged.append(item)
        if item not in self._unconfirmed:
            self._unconfirmed[item] = asyncio.get_running_loop().create_future()
        self._write(item)

    def _write(self, item: tuple[str, str]) -> None:
        if self.client.is_up:
            self.client.send(partial(self.take_acknowledgement, *item), lambda reply: self._confirm(item))

    def take_acknowledgement(self, user: str, message_id: str) -> None:
        """At the server."""
        self.server.acknowledge(user, message_id)

    def _confirm(self, item: tuple[str, str]) -> None:
        if (unconfirmed := self._unconfirmed.pop(item, None)) is not None:
            unconfirmed.set_result(None)

    def _write_again(self) -> None:
        for item in dict.fromkeys(self._acknowledged):
            self._write(item)

    def confirmation(self, user: str, message_id: str) -> Awaitable[None] | None:
        return self._unconfirmed.get((user, message_id))

    async def acknowledged(self, user: str, ids: Sequence[str]) -> Sequence[bool]:
        marks = await self.client.send(lambda: [self.server.store.is_acknowledged(user, id) for id in ids])
        return [mark or (user, id) in self._unconfirmed for mark, id in zip(marks, ids, strict=True)]

    async def fate(self, user: str, message_id: str) -> Fate:
        return Fate.UNKNOWN

    # The server does not depend on who watches

    def watch(self, user: str) -> None:
        pass

    def unwatch(self, user: str) -> None:
        pass

    def expire(self, now_ms: int) -> None:
        pass


class SharedArchive:
    """The database: what is added is there at once, and what is acknowledged leaves it at once."""

    def __init__(self) -> None:
        self._pending: dict[str, Envelope] = {}

    def add(self, envelope: Envelope) -> None:
        self._pending[envelope.message.id] = replace(envelope)

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        return any(envelope.receiver == receiver for envelope in self._pending.values())

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        await asyncio.sleep(0)
        found = [replace(envelope) for envelope in self._pending.values() if envelope.receiver == receiver]
        return found[:limit], len(found[limit:])

    def delivered(self, receiver: str, message_id: str) -> None:
        self._pending.pop(message_id, None)

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        return None

    def replayed(self, message_id: str) -> None:
        pass
