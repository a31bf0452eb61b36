"""The implementations of the ports. A new one is one more line in a table.

Each entry makes a fresh, empty instance and cleans up behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from app.cluster.keys import PENDING
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.ledger.redis import RedisLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.mailbox.redis import RedisMailbox
from app.cluster.presence.memory import MemoryPresence
from app.cluster.relay.memory import MemoryBus
from app.delivery.ledger import Ledger
from app.delivery.mailbox import Mailbox, MailboxLimits
from app.delivery.relay import Relay
from app.gateway.presence import Presence
from app.timing.clock import Clock
from tests.nodes import running, running_node
from tests.valkey import fresh_database

LedgerFactory = Callable[[], AbstractAsyncContextManager[Ledger]]
MailboxesFactory = Callable[[int, MailboxLimits, Clock], AbstractAsyncContextManager[Sequence[Mailbox]]]
RelaysFactory = Callable[[int], AbstractAsyncContextManager[Sequence[Relay]]]
PresencesFactory = Callable[[int], AbstractAsyncContextManager[Sequence[Presence]]]


@asynccontextmanager
async def memory_ledger() -> AsyncIterator[Ledger]:
    yield MemoryLedger()


@asynccontextmanager
async def redis_ledger() -> AsyncIterator[Ledger]:
    """Check at the end that Redis has exactly the open records."""
    with fresh_database() as url:
        async with running_node(url) as node:
            ledger = RedisLedger(node)
            async with running(ledger.run):
                yield ledger
                await ledger.flush()
                fields = await node.client.call(PENDING, "HKEYS", PENDING)
                expected = {f"{record.message_id}::{record.session_id}" for record in ledger.open_records()}
                assert {field.decode() for field in fields} == expected


@asynccontextmanager
async def memory_mailboxes(count: int, limits: MailboxLimits, clock: Clock) -> AsyncIterator[Sequence[Mailbox]]:
    """Yield one store as `count` nodes see it."""
    bus, store = MemoryBus(), MemoryStore(limits, clock)
    yield [MemoryMailbox(store, bus.relay().forward) for _ in range(count)]


@asynccontextmanager
async def redis_mailboxes(count: int, limits: MailboxLimits, clock: Clock) -> AsyncIterator[Sequence[Mailbox]]:
    with fresh_database() as url:
        async with AsyncExitStack() as stack:
            mailboxes = []
            for number in range(count):
                node = await stack.enter_async_context(running_node(url, f"n{number}"))
                mailbox = RedisMailbox(node.client, limits=limits, clock=clock, node=node.name)
                await stack.enter_async_context(running(mailbox.run))
                mailboxes.append(mailbox)
            yield mailboxes


@asynccontextmanager
async def memory_relays(count: int) -> AsyncIterator[Sequence[Relay]]:
    """Yield the relays of `count` connected nodes."""
    bus = MemoryBus()
    yield [bus.relay() for _ in range(count)]


@asynccontextmanager
async def redis_relays(count: int) -> AsyncIterator[Sequence[Relay]]:
    with fresh_database() as url:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(running_node(url, f"n{number}")) for number in range(count)]
            yield [node.relay for node in nodes]


@asynccontextmanager
async def memory_presences(count: int) -> AsyncIterator[Sequence[Presence]]:
    yield [MemoryPresence()] * count


@asynccontextmanager
async def redis_presences(count: int) -> AsyncIterator[Sequence[Presence]]:
    """Yield the presences of `count` nodes that count together."""
    with fresh_database() as url:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(running_node(url, f"n{number}")) for number in range(count)]
            await asyncio.sleep(0)
            yield [node.presence for node in nodes]


LEDGERS: dict[str, LedgerFactory] = {
    "memory": memory_ledger,
    "redis": redis_ledger,
}
MAILBOXES: dict[str, MailboxesFactory] = {
    "memory": memory_mailboxes,
    "redis": redis_mailboxes,
}
RELAYS: dict[str, RelaysFactory] = {
    "memory": memory_relays,
    "redis": redis_relays,
}
PRESENCES: dict[str, PresencesFactory] = {
    "memory": memory_presences,
    "redis": redis_presences,
}
