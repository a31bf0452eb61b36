"""A node of a cluster: the parts of one process that share a Redis client."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Sequence
from secrets import token_hex

from app.cluster import scripts
from app.cluster.channel import RedisNodeChannel
from app.cluster.control.redis import RedisControl
from app.cluster.members import Members
from app.cluster.presence.redis import RedisPresence
from app.cluster.relay.redis import RedisRelay
from app.cluster.sockjs_owners import RedisOwners
from app.cluster.wire import Kind, NodeMessage
from app.errors import Unavailable
from app.redis.address import RedisAddress
from app.redis.client import RedisClient

LIFECYCLE_TIMEOUT_S = 2.0  # to wait for Redis at start and at shutdown
MAX_NAME_LENGTH = 48


def unique_node_name(name: str | None) -> str:
    """Return `name` or the host name with a random suffix, so that a restarted process is a new node."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", name or socket.gethostname())[:MAX_NAME_LENGTH] or "node"
    return f"{plain}-{token_hex(4)}"


class ClusterNode:
    """The Redis side of one node. `run` must be running. `ttl_ms`: the lease of the node and of its sessions."""

    def __init__(
        self, address: RedisAddress, *, name: str, ttl_ms: int, timeout_s: float, ledgers: Sequence[str]
    ) -> None:
        self.name = name
        self.client = RedisClient(address, name=name, timeout_s=timeout_s, scripts=scripts.ALL)
        self.members = Members(self.client, node=name, ttl_ms=ttl_ms, ledgers=ledgers)
        self.relay = RedisRelay(self.client, self.members, node=name)
        self.control = RedisControl(self.client, self.members, node=name)
        self.presence = RedisPresence(self.client, node=name, ttl_ms=ttl_ms, members=self.members, control=self.control)
        self.channel = RedisNodeChannel(self.client, node=name)
        self.owners = RedisOwners(self.client, node=name)
        self.relay.on_other = self._receive
        self.members.on_lease_lost(self.presence.refresh_soon)

    def _receive(self, message: NodeMessage) -> None:
        if message.kind is Kind.MEMBERS:
            self.members.beat_soon()
            return
        receiver = self.channel if message.kind is Kind.DIRECT else self.control
        receiver.receive(message)

    async def run(self) -> None:
        """Run the client and all parts until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in (self.client, self.relay, self.members, self.presence, self.owners):
                group.create_task(part.run())

    async def wait_until_up(self) -> None:
        """Wait for Redis, at most LIFECYCLE_TIMEOUT_S: a node that starts without Redis connects later."""
        await self.client.wait_until_up(LIFECYCLE_TIMEOUT_S)

    async def leave(self) -> None:
        """Remove ended sessions and this node from Redis, if it is reachable. `run` must still be running."""
        await self.control.aclose()
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LIFECYCLE_TIMEOUT_S):
                await self.presence.flush()
                await self.members.leave()
