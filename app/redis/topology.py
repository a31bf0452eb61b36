"""Which server has which keys: one for all, whom Sentinel names, or the slots of a Redis Cluster."""

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
    """`channel_verbs`: how this kind of Redis subscribes, ends that, and publishes; so many channels in one command."""

    channel_verbs: tuple[str, str, str]
    channels_at_once: int
    hosts: Sequence[Host]

    async def discover(self, connections: Sequence[Connection]) -> None:
        """Brings `hosts` up to date. Raises Unavailable, OSError or TimeoutError."""

    def host_of(self, key: str) -> Host:
        """Raises Unavailable while nobody has the key."""


class SingleTopology:
    """One server, or the one that the Sentinels take for the primary."""

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
        """The first that knows ("Guidelines for Redis clients with support for Redis Sentinel")."""
        address, said = self._address, ""
        for host in address.hosts:
            try:
                primary = await self._ask_sentinel(host)
            except (OSError, TimeoutError, ReplyError, Unavailable) as error:
                said = str(error)
                continue
            if primary is not None:
                return primary[0].decode(), int(primary[1])
            said = f"there is no service {address.service}"
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
    """Channels are sharded: only the nodes that share a slot pass on what is published in it."""

    channel_verbs = ("SSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH")
    channels_at_once = 1  # those of one command would have to lie in one slot

    def __init__(self, address: RedisAddress, timeout_s: float) -> None:
        from redis.crc import key_slot  # redis-py is not needed without a cluster

        self._slot_of = key_slot
        self.hosts: Sequence[Host] = ()
        self._address = address
        self._timeout_s = timeout_s
        self._slots: list[Host | None] = [None] * SLOTS

    async def discover(self, connections: Sequence[Connection]) -> None:
        """Asks who is connected, then whoever is known."""
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
                logger.info("%s:%d does not tell the slots: %s", *host, error)
        raise unavailable("no node of the Redis Cluster answers")

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
        """`ranges` are [first, last, [host, port, …], replica, …]; without a host it is the one that was asked."""
        slots: list[Host | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            name = (primary[0] or b"").decode() or asked or self._address.hosts[0][0]
            slots[first : last + 1] = [(name, primary[1])] * (last + 1 - first)
        self._slots = slots
        self.hosts = tuple(dict.fromkeys(host for host in slots if host is not None))

    def host_of(self, key: str) -> Host:
        host = self._slots[self._slot_of(key.encode())]
        if host is None:
            raise unavailable("nobody in the Redis Cluster has the key")
        return host


async def prepare(connection: Connection, scripts: Iterable[Script]) -> None:
    """Ends the connection unless it can be used. Raises ReplyError, or Unavailable if it is not the one to write to."""
    try:
        await asyncio.gather(*(connection.send("SCRIPT", "LOAD", script.source) for script in scripts))
        if (await connection.send("ROLE"))[0] != b"master":
            raise unavailable("it is a replica")
    except BaseException:
        connection.abort()
        raise


def host_of_redirection(detail: str) -> Host:
    """Of `ASK 3999 127.0.0.1:6381`."""
    name, _, port = detail.rpartition(" ")[2].rpartition(":")
    return name, int(port)
