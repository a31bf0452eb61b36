"""One connection to one Redis server that carries commands, replies and published messages in one stream.

RESP3 ("RESP3 specification", "Push type") allows commands and subscriptions on the same connection. Replies and
published messages therefore arrive in the order in which the server made them, and one timeout covers both.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from hiredis import HiredisError, PushNotification, Reader, ReplyError, pack_command

from app.errors import Unavailable

MAX_WAITING = 50_000  # commands without a reply
MAX_UNSENT_BYTES = 67_108_864  # buffered for a slow server before commands are refused
RETRY_AFTER_S = 2
_MORE = object()

Argument = str | bytes | int
OnMessage = Callable[[str, bytes], None]
OnReply = Callable[[Any], None]

logger = logging.getLogger(__name__)


class _SubscriptionChange:
    """A SUBSCRIBE or UNSUBSCRIBE that waits: it has no reply, the server confirms each channel by a push."""

    __slots__ = ("channels", "done", "kind")

    def __init__(self, done: "asyncio.Future[Any]", verb: str, channels: Sequence[str]) -> None:
        self.done = done
        self.kind = verb.lower().encode()
        self.channels = {channel.encode() for channel in channels}


class _Observed:
    """A command whose reply is passed to `on_reply` in stream order."""

    __slots__ = ("done", "on_reply")

    def __init__(self, done: "asyncio.Future[Any]", on_reply: OnReply) -> None:
        self.done = done
        self.on_reply = on_reply


class Connection(asyncio.Protocol):
    """A RESP3 connection, to be used from its own event loop only.

    `on_message` gets each published message with its channel. `on_lost` is called once, when the connection ends.
    `on_dropped` gets a channel whose subscription the server ended by itself.
    """

    def __init__(
        self,
        *,
        on_message: OnMessage,
        on_lost: Callable[["Connection"], None],
        on_dropped: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.on_message = on_message
        self._on_lost = on_lost
        self._on_dropped = on_dropped
        self._reader = Reader(notEnoughData=_MORE)
        self._waiting: deque[asyncio.Future[Any] | _SubscriptionChange | _Observed] = deque()
        self._unsent: list[bytes] = []
        self._congested = False
        self._paused = False
        self._silent_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self.commands = 0
        self.lost = False

    # Commands

    def send(self, *command: Argument) -> "asyncio.Future[Any]":
        """Send a command and return the future of its reply. Commands of one event-loop turn share one write.

        The future fails with ReplyError if the server reports an error, and with Unavailable if the connection ends
        first. Raises Unavailable at once if the connection has ended or the server is too slow.
        """
        return self.send_packed(pack(*command))

    def send_packed(self, packed: bytes, on_reply: OnReply | None = None) -> "asyncio.Future[Any]":
        """Send a command that `pack` encoded; otherwise like `send`.

        `on_reply` is called with a reply that is no error, in stream order with published messages. Code that awaits
        the future runs one event-loop turn later. `on_reply` is called even if the future was cancelled.
        """
        done: asyncio.Future[Any] = self._loop.create_future()
        self._push(packed, done if on_reply is None else _Observed(done, on_reply))
        return done

    def change_subscriptions(self, verb: str, channels: Sequence[str]) -> "asyncio.Future[Any]":
        """Send SUBSCRIBE, UNSUBSCRIBE or their sharded forms. The future is done when all channels are confirmed."""
        done: asyncio.Future[Any] = self._loop.create_future()
        self._push(pack(verb, *channels), _SubscriptionChange(done, verb, channels))
        return done

    def _push(self, packed: bytes, waiting: "asyncio.Future[Any] | _SubscriptionChange | _Observed") -> None:
        if self.lost or self._congested or len(self._waiting) >= MAX_WAITING:
            raise unavailable("Redis is away" if self.lost else "Redis is too slow")
        if not self._waiting:
            self._silent_since_s = self._loop.time()
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        self._waiting.append(waiting)
        self.commands += 1

    def _flush(self) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def is_silent(self, timeout_s: float) -> bool:
        """Return whether a command has waited `timeout_s` with nothing received. Sends PING if no command waits."""
        if self._paused:  # nothing is read, whatever the server sends
            return False
        if not self._waiting:
            if not self.lost:
                self.send("PING").add_done_callback(ignore_result)
            return False
        return self._loop.time() - self._silent_since_s > timeout_s

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        self._silent_since_s = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                if type(reply) is PushNotification:
                    self._receive_push(reply)
                else:
                    self._settle(reply)
        except HiredisError:
            logger.exception("Redis sent invalid RESP3")
            self.abort()

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection to Redis was lost: {error or 'closed'}")

    def abort(self) -> None:
        """Close the connection at once. Commands without a reply fail with Unavailable."""
        if self._transport is not None:
            self._transport.abort()
        self._end("the connection to Redis was aborted")

    def pause_reading(self) -> None:
        if self._transport is not None and not self.lost:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self.lost:
            self._paused = False
            self._silent_since_s = self._loop.time()
            self._transport.resume_reading()

    def _end(self, why: str) -> None:
        if self.lost:
            return
        self.lost = True
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            done = one if isinstance(one, asyncio.Future) else one.done
            if not done.done():
                done.set_exception(unavailable(why))
                done.add_done_callback(ignore_result)
        self._on_lost(self)

    # Replies

    def _settle(self, reply: Any) -> None:
        """Complete the oldest command: replies arrive in the order of the commands."""
        waiting = self._waiting.popleft()
        done = waiting if isinstance(waiting, asyncio.Future) else waiting.done
        if type(waiting) is _Observed and not isinstance(reply, ReplyError):
            self._show(waiting, reply)
        if done.done():  # cancelled
            return
        if isinstance(reply, ReplyError):
            done.set_exception(reply)
            done.add_done_callback(ignore_result)
        else:
            done.set_result(reply)

    def _show(self, observed: _Observed, reply: Any) -> None:
        try:
            observed.on_reply(reply)
        except Exception:  # the outer edge: a failing callback must not end the stream
            logger.exception("the callback of a Redis reply failed")

    def _receive_push(self, push: list[Any]) -> None:
        kind = push[0]
        if kind.endswith(b"message"):
            try:
                self.on_message(push[1].decode(errors="replace"), push[2])
            except Exception:  # the outer edge: one bad message must not end the stream
                logger.exception("a message on %r could not be handled", push[1][:64])
        elif kind.endswith(b"subscribe"):
            self._confirm(kind, push[1])

    def _confirm(self, kind: bytes, channel: bytes) -> None:
        waiting = self._waiting[0] if self._waiting else None
        if isinstance(waiting, _SubscriptionChange) and waiting.kind == kind and channel in waiting.channels:
            waiting.channels.remove(channel)
            if not waiting.channels:
                self._settle(None)
        else:  # the slot of the channel moves to another server of the cluster
            self._on_dropped(channel.decode(errors="replace"))


async def open_connection(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    username: str | None = None,
    password: str | None = None,
    name: str = "",
    db: int = 0,
    on_message: OnMessage = lambda channel, payload: None,
    on_lost: Callable[[Connection], None] = lambda connection: None,
    on_dropped: Callable[[str], None] = lambda channel: None,
) -> Connection:
    """Connect, authenticate and check that the server replies.

    Raises OSError, TimeoutError, ReplyError or Unavailable.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        _, connection = await loop.create_connection(
            lambda: Connection(on_message=on_message, on_lost=on_lost, on_dropped=on_dropped),
            host,
            port,
            ssl=tls,
            server_hostname=host if tls else None,
        )
        try:
            await _greet(connection, username, password, name, db)
        except BaseException:
            connection.abort()
            raise
    return connection


async def _greet(connection: Connection, username: str | None, password: str | None, name: str, db: int) -> None:
    hello: list[Argument] = ["HELLO", 3]
    if password is not None:
        hello += ["AUTH", username or "default", password]
    if name:
        hello += ["SETNAME", name]
    await connection.send(*hello)
    if db:
        await connection.send("SELECT", db)
    await connection.send("PING")  # fails while the server loads its data


def pack(*command: Argument) -> bytes:
    """Encode a command as RESP."""
    return cast(Any, pack_command)(command)  # type: ignore[no-any-return]  # its stub allows one word only


def unavailable(detail: str) -> Unavailable:
    """Return the error of an unusable Redis, with the time after which to retry."""
    return Unavailable(detail, retry_after_s=RETRY_AFTER_S)


def ignore_result(done: "asyncio.Future[Any]") -> None:
    """Mark the exception of a future as retrieved, for commands whose reply is not awaited."""
    if not done.cancelled():
        done.exception()
