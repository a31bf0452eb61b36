"""Several nodes in memory that share their inboxes, as nodes share those in Redis."""

import asyncio
from collections.abc import Awaitable, Sequence

from msgspec.structs import replace

from app.cluster.memory import MemoryBus, MemoryRelay
from app.delivery.inbox import InboxLimits, Keep, MemoryInbox, Placed
from app.messages.message import Envelope
from tests.clock import FakeClock
from tests.delivery.node import Node


class NodeRelay(MemoryRelay):
    """`up` says whether it can be reached; own pushes wait until `waiting` is done."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__(bus)
        bus.relays.append(self)
        self.up = True
        self.waiting: asyncio.Future[None] | None = None

    @property
    def is_up(self) -> bool:  # type: ignore[override]
        return self.up

    def reaches(self, user: str) -> bool:
        return self.up

    def turn(self) -> Awaitable[None] | None:  # type: ignore[override]
        return self.waiting

    def watches(self, user: str) -> bool:
        return user in self._users


class SharedInbox(MemoryInbox):
    """`sent` are those that some session was sent, or could have been."""

    def __init__(self) -> None:
        super().__init__(InboxLimits())
        self.sent: set[tuple[str, str]] = set()


class NodeInbox:
    """What one node sees of it. What it puts the other nodes get that watch the receiver."""

    def __init__(self, shared: SharedInbox, relay: NodeRelay) -> None:
        self._shared = shared
        self._relay = relay
        self.remove = shared.remove
        self.expire = shared.expire

    async def put(self, envelope: Envelope, *, keep: Keep = Keep.ALWAYS) -> Placed:
        if keep is Keep.NEVER:
            return Placed(others=self._relay.forward(envelope), kept=False)
        if keep is Keep.UNHEARD and (others := self._relay.forward(envelope)):
            return Placed(others=others, kept=False)
        placed = await self._shared.put(envelope)
        if placed.known is not None:
            return placed
        others = 0 if keep is Keep.UNHEARD else self._relay.forward(envelope)
        if others or self._relay.watches(envelope.receiver):
            self._shared.sent.add((envelope.receiver, envelope.message.id))
        return Placed(others=others)

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        sent = self._shared.sent
        envelopes = [
            replace(envelope, was_sent=(receiver, envelope.message.id) in sent)
            for envelope in await self._shared.pending(receiver, now_ms)
        ]
        sent.update((receiver, envelope.message.id) for envelope in envelopes)
        return envelopes


def new_nodes(count: int = 2) -> list[Node]:
    bus, clock, shared = MemoryBus(), FakeClock(), SharedInbox()
    relays = [NodeRelay(bus) for _ in range(count)]
    return [Node(clock=clock, relay=relay, inbox=NodeInbox(shared, relay)) for relay in relays]


def relay_of(node: Node) -> NodeRelay:
    relay = node.delivery._relay
    assert isinstance(relay, NodeRelay)
    return relay
