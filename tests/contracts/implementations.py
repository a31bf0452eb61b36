"""What fulfils the ports. A further implementation is one more line in one of the tables.

Each entry makes a fresh, empty instance and cleans up behind it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.cluster.memory import MemoryBus
from app.delivery.inbox import Inbox, InboxLimits, MemoryInbox
from app.delivery.ledger import Ledger, MemoryLedger
from app.delivery.relay import Relay

LedgerFactory = Callable[[], AbstractAsyncContextManager[Ledger]]
InboxFactory = Callable[[InboxLimits], AbstractAsyncContextManager[Inbox]]
RelaysFactory = Callable[[int], AbstractAsyncContextManager[Sequence[Relay]]]


@asynccontextmanager
async def memory_ledger() -> AsyncIterator[Ledger]:
    yield MemoryLedger()


@asynccontextmanager
async def memory_inbox(limits: InboxLimits) -> AsyncIterator[Inbox]:
    yield MemoryInbox(limits)


@asynccontextmanager
async def memory_relays(count: int) -> AsyncIterator[Sequence[Relay]]:
    """Relays of so many nodes that hear one another."""
    bus = MemoryBus()
    yield [bus.relay() for _ in range(count)]


LEDGERS: dict[str, LedgerFactory] = {
    "memory": memory_ledger,
}
INBOXES: dict[str, InboxFactory] = {
    "memory": memory_inbox,
}
RELAYS: dict[str, RelaysFactory] = {
    "memory": memory_relays,
}
