"""Which server holds a key: a fixed one, the primary that Sentinel names, or the owner of a Redis Cluster slot."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from hiredis import ReplyError

from app.errors import Unavailable
from app.redis.address import Host, RedisAddress
from app.redis.connection import Connection, open_connection, unavailable
from app.redis.scripts import Script

SLOTS = 16_384

logger = logging.getLogger(__name__)


class Topology(Protocol):
    """`channel_verbs` subscribe, unsubscribe and publish. `channels_at_once`: the most channels of one command."""

    channel_verbs: tuple[str, str, str]
    channels_at_once: int
    hosts: Sequence[Host]

    async def discover(self, connections: Sequence[Connection]) -> None:
        """Update `hosts`. Raises Unavailable, OSError or TimeoutError."""

    def host_of(self, key: str) -> Host:
        """Return the server of the key. Raises Unavailable if none is known."""


class SingleTopology:
    """One server: a fixed one, or the primary that the Sentinels name."""

    channel_verbs = ("SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH")
    channels_at_once = 1_000

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        self.hosts: Sequence[Host] = ()
        self._address = address
        self._timeout_s = timeout_s

    async def discover(self, connections: Sequence[Connection]) -> None:
        address = self._address
        self.hosts = (await self._ask_sentinels(),) if address.kind == "sentinel" else address.hosts

    async def _ask_sentinels(self) -> Host:
        """Return the primary named by the first Sentinel that knows it.

        "Guidelines for Redis clients with support for Redis Sentinel". Raises Unavailable.
        """
        address, said = self._address, ""
        for host in address.hosts:
            try:
                primary = await self._ask_sentinel(host)
            except (OSError, TimeoutError, ReplyError, Unavailable) as error:
                said = str(error)
                continue
            if primary is not None:
                return primary[0].decode(), int(primary[1])
            said = f"unknown service {address.service}"
        raise unavailable(f"Sentinel knows no primary: {said}")

    async def _ask_sentinel(self, host: Host) -> Sequence[bytes] | None:
        address = self._address
        connection = await open_connection(
            *host,
            tls=address.tls,
            timeout_s=self._timeout_s,
            username=address.sentinel_username,
            password=address.sentinel_password,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                found: Sequence[bytes] | None = await connection.send(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service
                )
                return found
        finally:
            connection.abort()

    def host_of(self, key: str) -> Host:
        if not self.hosts:
            raise unavailable("Redis has not been reached yet")
        return self.hosts[0]


class ClusterTopology:
    """The servers of a Redis Cluster. Channels are sharded: a message reaches only the shard of its slot."""

    channel_verbs = ("SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH")
    channels_at_once = 1  # the channels of one command would have to share a slot

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        from redis.crc import key_slot  # redis-py is not needed without a cluster

        self._slot_of = key_slot
        self.hosts: Sequence[Host] = ()
        self._address = address
        self._timeout_s = timeout_s
        self._slots: list[Host | None] = [None] * SLOTS

    async def discover(self, connections: Sequence[Connection]) -> None:
        """Ask the connected servers for the slots, then the other known hosts."""
        for connection in connections:
            try:
                self._learn(await connection.send("CLUSTER", "SLOTS"), None)
                return
            except (ReplyError, Unavailable):
                continue
        for host in dict.fromkeys((*self.hosts, *self._address.hosts)):
            try:
                await self._ask(host)
                return
            except (OSError, ReplyError, Unavailable) as error:
                logger.info("%s:%d did not return its slots: %s", *host, error)
        raise unavailable("no server of the Redis Cluster replies")

    async def _ask(self, host: Host) -> None:
        address = self._address
        connection = await open_connection(
            *host, tls=address.tls, timeout_s=self._timeout_s, username=address.username, password=address.password
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                self._learn(await connection.send("CLUSTER", "SLOTS"), host[0])
        finally:
            connection.abort()

    def _learn(self, ranges: Sequence[Any], asked: str | None) -> None:
        """Store the ranges of CLUSTER SLOTS, each [first, last, [host, port, …], replica, …]. No host means `asked`."""
        slots: list[Host | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            name = (primary[0] or b"").decode() or asked or self._address.hosts[0][0]
            slots[first : last + 1] = [(name, primary[1])] * (last + 1 - first)
        self._slots = slots
        self.hosts = tuple(dict.fromkeys(host for host in slots if host is not None))

    def host_of(self, key: str) -> Host:
        host = self._slots[self._slot_of(key.encode())]
        if host is None:
            raise unavailable("no server of the Redis Cluster holds the slot")
        return host


async def prepare(connection: Connection, scripts: Iterable[Script]) -> None:
    """Load the scripts and check the role.

    Aborts the connection and raises ReplyError, or Unavailable for a replica.
    """
    try:
        await asyncio.gather(*(connection.send("SCRIPT", "LOAD", script.source) for script in scripts))
        if (await connection.send("ROLE"))[0] != b"master":
            raise unavailable("it is a replica")
    except BaseException:
        connection.abort()
        raise


def host_of_redirection(detail: str) -> Host:
    """Return the host of the detail of a redirection, such as `3999 127.0.0.1:6381` of `ASK 3999 127.0.0.1:6381`."""
    name, _, port = detail.rpartition(" ")[2].rpartition(":")
    return name, int(port)
