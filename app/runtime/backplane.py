"""The adapters that hold state beyond one session, in the memory of this process or in a Redis that nodes share."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.cluster.control.memory import MemoryControl
from app.cluster.keys import ledger_keys
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.ledger.redis import RedisLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.mailbox.redis import RedisMailbox
from app.cluster.node import LIFECYCLE_TIMEOUT_S, ClusterNode, unique_node_name
from app.cluster.presence.memory import MemoryPresence
from app.cluster.relay.memory import MemoryBus
from app.delivery.ledger import Ledger
from app.delivery.mailbox import Mailbox, MailboxLimits
from app.delivery.relay import Relay
from app.errors import Unavailable
from app.gateway.control import Control
from app.gateway.presence import Presence
from app.redis.address import parse_redis_url
from app.settings import Settings
from app.timing.clock import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backplane:
    """The adapters of one node. The caller runs `jobs` from the start until `close` has returned."""

    node: str
    mailbox: Mailbox
    ledger: Ledger
    relay: Relay
    presence: Presence
    control: Control
    cluster: ClusterNode | None = None
    jobs: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = ()
    writers: Sequence[RedisMailbox | RedisLedger] = field(default=())

    async def wait_until_up(self) -> None:
        if self.cluster is not None:
            await self.cluster.wait_until_up()

    async def close(self) -> None:
        """Write pending changes to Redis and leave the cluster.

        Changes that Redis does not take in time are dropped: their messages are resent, or their records expire.
        """
        for writer in self.writers:
            try:
                async with asyncio.timeout(LIFECYCLE_TIMEOUT_S):
                    await writer.flush()
            except (Unavailable, TimeoutError) as error:
                logger.warning("%d changes were not written: %s", writer.unapplied, error or "Redis does not reply")
        if self.cluster is not None:
            await self.cluster.leave()


def build_backplane(settings: Settings, clock: Clock) -> Backplane:
    """Build the adapters that the settings ask for, without connecting. Raises ConfigurationError."""
    name = unique_node_name(settings.node_name)
    limits = MailboxLimits(
        max_messages=settings.inbox_max_messages,
        max_bytes=settings.max_inboxes_bytes,
        window_ms=settings.mailbox_window_ms if settings.redis_url else 0,
        remember_ms=settings.ack_remember_ms,
    )
    if settings.redis_url is None:
        return Backplane(
            node=name,
            mailbox=MemoryMailbox(MemoryStore(limits, clock)),
            ledger=MemoryLedger(),
            relay=MemoryBus().relay(),
            presence=MemoryPresence(),
            control=MemoryControl(),
        )
    partitions = settings.ack_redis_partitions
    cluster = ClusterNode(
        parse_redis_url(settings.redis_url),
        name=name,
        ttl_ms=settings.node_ttl_ms,
        timeout_s=settings.redis_timeout_ms / 1000,
        ledgers=ledger_keys(partitions),
    )
    mailbox = RedisMailbox(cluster.client, limits=limits, clock=clock, node=name, replicas=settings.redis_wait_replicas)
    ledger = MemoryLedger() if settings.enable_local_ack else RedisLedger(cluster, partitions=partitions)
    writers: list[RedisMailbox | RedisLedger] = [mailbox, ledger] if isinstance(ledger, RedisLedger) else [mailbox]
    return Backplane(
        node=name,
        mailbox=mailbox,
        ledger=ledger,
        relay=cluster.relay,
        presence=cluster.presence,
        control=cluster.control,
        cluster=cluster,
        jobs=[("cluster", cluster.run), *((type(writer).__name__, writer.run) for writer in writers)],
        writers=writers,
    )
