"""Several nodes in memory that share their mailboxes, as nodes share those in Redis."""

import asyncio
from collections.abc import Awaitable, Callable

from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.delivery.mailbox import MailboxLimits
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

    def in_order(self, action: Callable[[], None]) -> None:
        if self.waiting is None or self.waiting.done():
            action()
        else:
            self.waiting.add_done_callback(lambda _: action())

    def barrier(self) -> Awaitable[None] | None:  # type: ignore[override]
        return self.waiting

    def watches(self, user: str) -> bool:
        return user in self._users


def new_nodes(count: int = 2) -> list[Node]:
    bus, clock = MemoryBus(), FakeClock()
    store = MemoryStore(MailboxLimits(), clock)
    relays = [NodeRelay(bus) for _ in range(count)]
    return [Node(clock=clock, relay=relay, mailbox=MemoryMailbox(store, relay.forward)) for relay in relays]


def relay_of(node: Node) -> NodeRelay:
    relay = node.delivery._relay
    assert isinstance(relay, NodeRelay)
    return relay


def store_of(node: Node) -> MemoryStore:
    assert isinstance(node.mailbox, MemoryMailbox)
    return node.mailbox._store
