"""A Redis client: commands, scripts and subscriptions on one connection per server, with automatic reconnection."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from app.errors import Unavailable
from app.redis.address import Host, RedisAddress
from app.redis.connection import (
    Argument,
    Connection,
    OnMessage,
    OnReply,
    ignore_result,
    open_connection,
    pack,
    unavailable,
)
from app.redis.scripts import Script
from app.redis.subscriptions import Subscriptions
from app.redis.topology import ClusterTopology, SingleTopology, Topology, host_of_redirection, prepare

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
CHECKS_PER_TIMEOUT = 4
MAX_REDIRECTIONS = 5
LONGEST_WAIT_MS = 1000  # of WAIT, which blocks the commands sent after it on the same connection
# Error codes of a server that cannot take writes now. READONLY: it has become a replica.
WRONG_SERVER = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN")

AWAY = "Redis is away: pushes are refused until it is back"

OnUp = Callable[[Sequence[str]], None]

logger = logging.getLogger(__name__)


class RedisClient:
    """A client of one server, of the primary that Sentinels name, or of a Redis Cluster.

    `run` must be running: it connects and reconnects, and loads `scripts` into each server.

    Commands raise Unavailable at once while their server is not connected, and once a server has not replied for
    `timeout_s`. A command that was sent before such a failure may have been executed.
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
        self._replicated: dict[Connection, asyncio.Future[Any]] = {}
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

    def on_up(self, call: OnUp) -> None:
        """Add a callback for every reconnection. It gets the channels whose subscription was restored; messages
        published on them in between are lost."""
        self._on_up.append(call)

    @property
    def count_verbs(self) -> tuple[str, str]:
        """The command that counts the subscribers of channels, without the channels."""
        return "PUBSUB", "SHARDNUMSUB" if self.publish_verb == "SPUBLISH" else "NUMSUB"

    @property
    def commands(self) -> int:
        """The number of commands sent on the open connections."""
        return sum(connection.commands for connection in self._connections.values())

    # Commands

    async def call(self, key: str, *command: Argument) -> Any:
        """Send a command to the server of the key and return its reply.

        Commands of one event-loop turn leave in one write, in order. Raises Unavailable.
        """
        try:
            return await self._connection_of(key).send(*command)
        except ReplyError as error:
            return await self._recover(key, pack(*command), error)

    def send(self, key: str, *command: Argument) -> None:
        """Send a command and ignore its reply, even an error. Raises Unavailable if the server is away."""
        self._connection_of(key).send(*command).add_done_callback(ignore_result)

    async def run_script(
        self, script: Script, keys: Sequence[str], *arguments: Argument, on_reply: OnReply | None = None
    ) -> Any:
        """Run a script and return its reply. `keys` share one slot; `on_reply`: see `Connection.send_packed`.

        Raises Unavailable.
        """
        try:
            return await self.send_script(script, keys, *arguments, on_reply=on_reply)
        except ReplyError as error:
            verb, text = ("EVAL", script.source) if str(error).startswith("NOSCRIPT") else ("EVALSHA", script.digest)
            packed = pack(verb, text, len(keys), *keys, *arguments)
            return await self._recover(keys[0], packed, error, on_reply)

    def send_script(
        self, script: Script, keys: Sequence[str], *arguments: Argument, on_reply: OnReply | None = None
    ) -> "asyncio.Future[Any]":
        """Send a script once, and return the future of its reply. It may raise ReplyError; `run_script` retries."""
        packed = pack("EVALSHA", script.digest, len(keys), *keys, *arguments)
        return self._connection_of(keys[0]).send_packed(packed, on_reply)

    async def replicated(self, key: str, replicas: int) -> None:
        """Wait until `replicas` replicas have everything sent so far to the server of the key. Raises Unavailable.

        Callers of one event-loop turn share one WAIT.
        """
        connection = self._connection_of(key)
        waiting = self._replicated.get(connection)
        if waiting is None:
            waiting = self._replicated[connection] = connection.send(
                "WAIT", replicas, min(int(self._timeout_s * 500), LONGEST_WAIT_MS)
            )
            asyncio.get_running_loop().call_soon(self._replicated.pop, connection)
        try:
            taken = await asyncio.shield(waiting)  # a cancelled caller must not cancel it for the others
        except ReplyError as error:  # the server has become a replica
            raise unavailable(f"Redis refuses: {error}") from error
        if taken < replicas:
            raise unavailable("too few replicas of Redis have taken the message")

    async def publish(self, channel: str, payload: bytes) -> int:
        """Publish a message and return the number of subscribers, in a Redis Cluster too. Raises Unavailable."""
        heard: int = await self.call(channel, self.publish_verb, channel, payload)
        return heard

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

    async def _recover(self, key: str, packed: bytes, error: ReplyError, on_reply: OnReply | None = None) -> Any:
        """Send a command again after a redirection, a TRYAGAIN or a missing script. Raises Unavailable."""
        for _ in range(MAX_REDIRECTIONS):
            kind, _, detail = str(error).partition(" ")
            if kind == "MOVED":
                await self._rediscover()
            elif kind == "TRYAGAIN":
                await asyncio.sleep(FIRST_DELAY_S)
            elif kind in WRONG_SERVER:
                self._connection_of(key).abort()
                raise unavailable(f"Redis cannot execute the command now: {error}")
            elif kind not in ("ASK", "NOSCRIPT"):
                raise unavailable(f"Redis refuses: {error}")
            try:
                connection = self._connection_of(key)
                if kind == "ASK":
                    connection = self._connections.get(host_of_redirection(detail)) or connection
                    connection.send("ASKING")
                return await connection.send_packed(packed, on_reply)
            except ReplyError as again:
                error = again
        raise unavailable(f"too many redirections in the Redis Cluster: {error}")

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
                    on_message=self._receive,
                    on_lost=self._lost,
                    on_dropped=self.subscriptions.drop,
                )
                await prepare(connection, self._scripts)
        except (Unavailable, OSError, TimeoutError, ReplyError) as error:
            logger.info("Redis at %s:%d cannot be used: %s", *host, error)
            return False
        self._connections[host] = connection
        return True

    def _receive(self, channel: str, payload: bytes) -> None:
        self._on_message(channel, payload)

    def _lost(self, connection: Connection) -> None:
        for host, other in tuple(self._connections.items()):
            if other is connection:
                del self._connections[host]
                self.is_up = False
        self.subscriptions.lose(connection)
        self._stale.set()
