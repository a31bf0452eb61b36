"""Attach a picows reader to a connection that is a WebSocket already. It only reads; the caller writes and closes."""

import asyncio
import logging
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias

from picows import WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows import picows as engine

BUFFER_BYTES = 2048  # of a new reader; it doubles whenever it is full
READ_AT_ONCE_BYTES = 65_536
FLOOD_BYTES = 32_768  # in the buffer behind a frame: small frames came faster than they were read

Reader: TypeAlias = engine.WSProtocol  # type: ignore[attr-defined, name-defined]  # missing in the stubs of picows

# picows starts reading frames after a handshake. Ours has ended by then, so it gets this one.
_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


logger = logging.getLogger(__name__)


def attach(
    transport: asyncio.Transport, listener: WSListener, *, max_bytes: int, on_broken: Callable[[int, str], None]
) -> Reader:
    """Make a reader with a small buffer the protocol of the transport, and pass its frames to the listener.

    `on_broken` is called with a close code and a reason when picows cannot read on. The reader writes nothing itself.
    """
    reader = Reader(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=lambda _: WSUpgradeResponseWithListener(_NO_RESPONSE, listener),
        logger=_LOG,
        disconnect_on_exception=True,
        websocket_handshake_timeout=None,
        enable_auto_ping=False,
        auto_ping_idle_timeout=0,
        auto_ping_reply_timeout=0,
        auto_ping_strategy=engine.WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong=False,
        max_frame_size=max_bytes,
        extra_headers=None,
        read_buffer_init_size=BUFFER_BYTES,
    )
    reader.connection_made(_EngineTransport(transport, on_broken))
    transport.set_protocol(reader)
    feed(reader, _REQUEST)
    return reader


def file_descriptor(transport: asyncio.Transport) -> int | None:
    """Return the descriptor for writing past the transport; None under TLS."""
    if transport.get_extra_info("ssl_object") is not None:
        return None
    return int(transport.get_extra_info("socket").fileno())


def feed(reader: Reader, data: bytes) -> bytes:
    """Pass bytes to the reader as if they had just been read. Return those for which it has no room."""
    buffer = reader.get_buffer(-1)
    size = min(len(buffer), len(data))
    buffer[:size] = data[:size]
    reader.buffer_updated(size)
    return data[size:]


class Monitored(Protocol):
    has_read: bool
    """Set when bytes arrive, even those of an incomplete frame."""
    is_asked: bool
    """Cleared when bytes arrive. Set by the caller after a ping."""


class ReadMonitor(asyncio.BufferedProtocol):
    """A protocol before a reader that notes when bytes arrive. Most connections do without it.

    Reads a bounded number of bytes at once. Otherwise the buffer of the reader would grow to hold all that has
    arrived, and never shrink.
    """

    __slots__ = ("_monitored", "_reader")

    def __init__(self, reader: Reader, monitored: Monitored) -> None:
        self._reader = reader
        self._monitored = monitored

    def get_buffer(self, sizehint: int) -> memoryview:
        self._monitored.has_read = True
        self._monitored.is_asked = False
        buffer: memoryview = self._reader.get_buffer(sizehint)
        return buffer[:READ_AT_ONCE_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.buffer_updated(nbytes)

    def eof_received(self) -> None:
        self._reader.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.connection_lost(exc)

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()


class DiscardInput(asyncio.Protocol):
    """A protocol that discards input until the peer closes.

    To close a socket with unread bytes resets the connection, and the peer would lose the close frame.
    """

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()


class _EngineTransport:
    """The transport as picows sees it: it can neither write nor close.

    picows writes a close frame when it cannot read on, and nothing else. That becomes a call of `on_broken`. It would
    also close the connection, too early for `DiscardInput`.
    """

    def __init__(self, transport: asyncio.Transport, on_broken: Callable[[int, str], None]) -> None:
        self._transport = transport
        self._on_broken = on_broken

    def get_extra_info(self, name: str) -> Any:
        if name == "socket":
            return _NO_SOCKET
        if name == "ssl_object":  # keeps picows from writing to the socket directly
            return True
        return self._transport.get_extra_info(name)

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if data:
            code, text = struct.unpack_from("!H", data, 2)[0], bytes(data[4:])
            self._on_broken(code, text.decode(errors="replace"))

    def close(self) -> None: ...

    def abort(self) -> None: ...


class _NoSocket:
    """A socket without options. It saves six system calls: picows sets options, and reads them for its log."""

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, *_: int) -> int:
        return 0


class _NoResponse(WSUpgradeResponse):
    """An empty response: the real one has been sent."""

    def __init__(self) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers = {}  # type: ignore[assignment]  # picows adds one that is not sent

    def to_bytes(self) -> bytearray:
        return bytearray()


class _QuietLog(logging.LoggerAdapter[logging.Logger]):
    """The log of picows, without its info lines, which repeat others, and with mistakes of peers at level debug."""

    def info(self, msg: object, *args: object, **kwargs: Any) -> None: ...

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


_NO_SOCKET, _NO_RESPONSE, _LOG = _NoSocket(), _NoResponse(), _QuietLog(logger, {})  # shared by all connections
