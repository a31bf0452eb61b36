"""Connections to all servers of a Redis, kept open and restored with their subscriptions after a loss."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence

from hiredis import ReplyError

from app.errors import Unavailable
from app.redis.address import Host, RedisAddress
from app.redis.connection import Connection, OnMessage, open_connection, unavailable
from app.redis.scripts import Script
from app.redis.subscriptions import Subscriptions
from app.redis.topology import ClusterTopology, SingleTopology, Topology, prepare

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
CHECKS_PER_TIMEOUT = 4

AWAY = "Redis is away: pushes are refused until it is back"

OnUp = Callable[[Sequence[str]], None]

logger = logging.getLogger(__name__)


class ServerConnections:
    """One connection per server: of a single server, of the primary that Sentinels name, or of a Redis Cluster.

    `run` must be running: it connects and reconnects, and loads `scripts` into each server.
    """

    def __init__(
        self, address: RedisAddress, *, name: str, timeout_s: float = 3.0, scripts: Sequence[Script] = ()
    ) -> None:
        self._address = address
        self._name = name
        self._timeout_s = timeout_s
        self._scripts = scripts
        topology = ClusterTopology if address.kind == "cluster" else SingleTopology
        self._topology: Topology = topology(address, timeout_s)
        *verbs, self.publish_verb = self._topology.channel_verbs
        self.is_sharded = address.kind == "cluster"
        """Whether this is a Redis Cluster, where a script may use the keys of one slot only."""
        self._connections: dict[Host, Connection] = {}
        self._stale = asyncio.Event()
        self._changed = asyncio.Event()
        self._on_message: OnMessage = lambda channel, payload: None
        self._on_up: list[OnUp] = []
        self._was_up = True
        self.is_up = False
        self.subscriptions = Subscriptions(
            (verbs[0], verbs[1]),
            at_once=self._topology.channels_at_once,
            connection_of=self._connection_of,
            request_restore=self._stale.set,
        )

    def listen(self, on_message: OnMessage) -> None:
        """Set the receiver of published messages. It is called in the order in which each server published them."""
        self._on_message = on_message
        for connection in self._connections.values():
            connection.on_message = on_message

    def on_up(self, call: OnUp) -> None:
        """Add a callback for every reconnection. It gets the channels whose subscription was restored; messages
        published on them in between are lost."""
        self._on_up.append(call)

    @property
    def commands(self) -> int:
        """The number of commands sent on the open connections."""
        return sum(connection.commands for connection in self._connections.values())

    def reaches(self, key: str) -> bool:
        """Return whether the server of the key is connected."""
        try:
            self._connection_of(key)
        except Unavailable:
            return False
        return True

    def _connection_of(self, key: str) -> Connection:
        connection = self._connections.get(self._topology.host_of(key))
        if connection is None:
            raise unavailable("Redis is away")
        return connection

    async def _rediscover(self) -> None:
        """Have `run` discover the slots again, and wait for it. Raises Unavailable after `timeout_s`."""
        self._changed.clear()
        self._stale.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._changed.wait()
        except TimeoutError:
            raise unavailable("the Redis Cluster is changing") from None

    # Back-pressure

    def pause_reading(self) -> None:
        """Stop reading from every connection."""
        for connection in self._connections.values():
            connection.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        for connection in self._connections.values():
            connection.resume_reading()

    # Connecting

    async def run(self) -> None:
        """Keep all servers connected until cancelled; then close the connections."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_connected())
                group.create_task(self._watch())
        finally:
            for connection in tuple(self._connections.values()):
                connection.abort()

    async def wait_until_up(self, timeout_s: float) -> None:
        """Wait until all servers are connected, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.is_up:
                    self._changed.clear()
                    await self._changed.wait()

    async def _keep_connected(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            self._stale.clear()
            if self._enter(await self._connect_all()):
                up_since_s = self._now_s()
                await self._stale.wait()
                if self._now_s() - up_since_s > LONGEST_DELAY_S:
                    delay_s = FIRST_DELAY_S
            await asyncio.sleep(random.uniform(0, delay_s))  # so that nodes do not reconnect all at once
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _enter(self, is_up: bool) -> bool:
        if is_up != self._was_up:
            logger.log(*((logging.INFO, "Redis is connected") if is_up else (logging.WARNING, AWAY)))
        self.is_up = self._was_up = is_up
        self._changed.set()
        return is_up

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        """Abort connections whose server does not reply: they may be half-open."""
        while True:
            await asyncio.sleep(self._timeout_s / CHECKS_PER_TIMEOUT)
            for connection in tuple(self._connections.values()):
                if connection.is_silent(self._timeout_s):
                    logger.warning("Redis has not answered for %.1f s", self._timeout_s)
                    connection.abort()

    async def _connect_all(self) -> bool:
        """Connect to all servers and restore subscriptions. Return whether all are connected."""
        try:
            await self._topology.discover(tuple(self._connections.values()))
        except (Unavailable, OSError, TimeoutError, ReplyError) as error:
            logger.info("Redis is away: %s", error)
            return False
        wanted = set(self._topology.hosts)
        for host in self._connections.keys() - wanted:
            self._connections[host].abort()
        opened = await asyncio.gather(*(self._connect(host) for host in wanted - self._connections.keys()))
        self._changed.set()
        back = await self.subscriptions.restore()
        if back or any(opened):
            for call in self._on_up:
                call(back)
        return self._connections.keys() == wanted

    async def _connect(self, host: Host) -> bool:
        address = self._address
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await open_connection(
                    *host,
                    tls=address.tls,
                    timeout_s=self._timeout_s,
                    username=address.username,
                    password=address.password,
                    name=self._name,
                    db=address.db,
                    on_message=self._on_message,
                    on_lost=self._lost,
                    on_dropped=self.subscriptions.drop,
                )
                await prepare(connection, self._scripts)
        except (Unavailable, OSError, TimeoutError, ReplyError) as error:
            logger.info("Redis at %s:%d cannot be used: %s", *host, error)
            return False
        self._connections[host] = connection
        return True

    def _lost(self, connection: Connection) -> None:
        for host, other in tuple(self._connections.items()):
            if other is connection:
                del self._connections[host]
                self.is_up = False
        self.subscriptions.lose(connection)
        self._stale.set()
