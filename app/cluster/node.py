"""This process as one of the nodes that share a Redis."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Sequence
from secrets import token_hex

from app.cluster import scripts
from app.cluster.control.redis import RedisControl
from app.cluster.members import Members
from app.cluster.post import RedisPost
from app.cluster.presence.redis import RedisPresence
from app.cluster.relay.redis import RedisRelay
from app.cluster.sockjs_owners import RedisOwners
from app.cluster.wire import Kind, NodeMessage
from app.errors import Unavailable
from app.redis.address import RedisAddress
from app.redis.client import RedisClient

LIFECYCLE_TIMEOUT_S = 2.0  # for Redis to be there when the service starts, and to be told when it ends
MAX_NAME_LENGTH = 48


def unique_node_name(name: str | None) -> str:
    """The name, or that of the host, and something that no other process has: a node that starts again is another."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", name or socket.gethostname())[:MAX_NAME_LENGTH] or "node"
    return f"{plain}-{token_hex(4)}"


class ClusterNode:
    """`run` must be running. `ttl_ms`: so long does it count as there after its last sign of life."""

    def __init__(
        self, address: RedisAddress, *, name: str, ttl_ms: int, timeout_s: float, ledgers: Sequence[str]
    ) -> None:
        self.name = name
        self.client = RedisClient(address, name=name, timeout_s=timeout_s, scripts=scripts.ALL)
        self.members = Members(self.client, node=name, ttl_ms=ttl_ms, ledgers=ledgers)
        self.relay = RedisRelay(self.client, self.members, node=name)
        self.control = RedisControl(self.client, self.members, node=name)
        self.presence = RedisPresence(self.client, node=name, ttl_ms=ttl_ms, members=self.members, control=self.control)
        self.post = RedisPost(self.client, node=name)
        self.owners = RedisOwners(self.client, node=name)
        self.relay.on_other = self._receive
        self.members.on_lease_lost(self.presence.refresh_soon)

    def _receive(self, message: NodeMessage) -> None:
        if message.kind is Kind.MEMBERS:
            self.members.beat_soon()
            return
        receiver = self.post if message.kind is Kind.DIRECT else self.control
        receiver.receive(message)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in (self.client, self.relay, self.members, self.presence, self.owners):
                group.create_task(part.run())

    async def wait_until_up(self) -> None:
        """Not for ever: a node that starts without Redis serves as soon as it is there."""
        await self.client.wait_until_up(LIFECYCLE_TIMEOUT_S)

    async def leave(self) -> None:
        """Says goodbye, if Redis is there to hear it. `run` is still running."""
        await self.control.aclose()
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LIFECYCLE_TIMEOUT_S):
                await self.presence.flush()
                await self.members.leave()
