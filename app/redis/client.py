"""A Redis client: commands, scripts and subscriptions on one connection per server, with automatic reconnection."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import ReplyError

from app.redis.address import RedisAddress
from app.redis.connection import Argument, Connection, OnReply, ignore_result, pack, unavailable
from app.redis.scripts import Script
from app.redis.servers import ServerConnections
from app.redis.topology import host_of_redirection

RETRY_DELAY_S = 0.05
MAX_REDIRECTIONS = 5
LONGEST_WAIT_MS = 1000  # of WAIT, which blocks the commands sent after it on the same connection
# Error codes of a server that cannot take writes now. READONLY: it has become a replica.
WRONG_SERVER = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN")


class RedisClient(ServerConnections):
    """Sends commands to the servers that hold their keys.

    Commands raise Unavailable at once while their server is not connected, and once a server has not replied for
    `timeout_s`. A command that was sent before such a failure may have been executed.
    """

    def __init__(
        self, address: RedisAddress, *, name: str, timeout_s: float = 3.0, scripts: Sequence[Script] = ()
    ) -> None:
        super().__init__(address, name=name, timeout_s=timeout_s, scripts=scripts)
        self._replicated: dict[Connection, asyncio.Future[Any]] = {}

    @property
    def count_verbs(self) -> tuple[str, str]:
        """The command that counts the subscribers of channels, without the channels."""
        return "PUBSUB", "SHARDNUMSUB" if self.publish_verb == "SPUBLISH" else "NUMSUB"

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

    async def _recover(self, key: str, packed: bytes, error: ReplyError, on_reply: OnReply | None = None) -> Any:
        """Send a command again after a redirection, a TRYAGAIN or a missing script. Raises Unavailable."""
        for _ in range(MAX_REDIRECTIONS):
            kind, _, detail = str(error).partition(" ")
            if kind == "MOVED":
                await self._rediscover()
            elif kind == "TRYAGAIN":
                await asyncio.sleep(RETRY_DELAY_S)
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
