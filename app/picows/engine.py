"""picows put under a connection that is already a WebSocket, and kept from what it would do otherwise."""

import asyncio
import logging
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias

from picows import WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows import picows as engine

BUFFER_BYTES = 2048  # for each connection, and twice as much whenever it is full
READ_AT_ONCE_BYTES = 65_536
FLOOD_BYTES = 32_768  # of small frames that came at once

Reader: TypeAlias = engine.WSProtocol  # type: ignore[attr-defined, name-defined]  # missing in the stubs of picows

# The handshake is over before picows sees anything: this lets it begin.
_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


logger = logging.getLogger(__name__)


def attach(
    transport: asyncio.Transport, listener: WSListener, *, max_bytes: int, on_broken: Callable[[int, str], None]
) -> Reader:
    """Puts a new reader, with a small buffer, between the transport and the listener.

    `on_broken` is called with a close code and a text when picows cannot go on reading. It writes nothing itself.
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
    """What may be written to without the transport; None under TLS."""
    if transport.get_extra_info("ssl_object") is not None:
        return None
    return int(transport.get_extra_info("socket").fileno())


def feed(reader: Reader, data: bytes) -> bytes:
    """Gives it bytes as if they had just been read, as many as there is room for, and answers the others."""
    buffer = reader.get_buffer(-1)
    size = min(len(buffer), len(data))
    buffer[:size] = data[:size]
    reader.buffer_updated(size)
    return data[size:]


class Monitored(Protocol):
    has_read: bool
    """Bytes came, of whole frames or not."""
    is_asked: bool
    """No bytes came since the peer was asked for a sign of life."""


class ReadMonitor(asyncio.BufferedProtocol):
    """Between a transport and its reader, where it has to be known what comes: for nearly all it would be in the way.

    Reads a bounded number of bytes at once: or the buffer would grow with all that is there, and never shrink.
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
    """Reads and forgets, until the peer has gone: a socket that is closed with bytes unread resets the connection,
    and the peer would lose the close frame.
    """

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()


class _EngineTransport:
    """The transport as picows sees it. Writing is not its business, nor is hanging up, which it would do too early
    for `DiscardInput`: all that it ever wants to say is the close frame when it cannot go on reading.
    """

    def __init__(self, transport: asyncio.Transport, on_broken: Callable[[int, str], None]) -> None:
        self._transport = transport
        self._on_broken = on_broken

    def get_extra_info(self, name: str) -> Any:
        if name == "socket":
            return _NO_SOCKET
        if name == "ssl_object":  # then it does not write to the socket
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
    """picows sets and asks options for its log, in six system calls; the listener's are as they should be."""

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, *_: int) -> int:
        return 0


class _NoResponse(WSUpgradeResponse):
    """The answer to a handshake that has been answered."""

    def __init__(self) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers = {}  # type: ignore[assignment]  # picows puts in one that nobody reads

    def to_bytes(self) -> bytearray:
        return bytearray()


class _QuietLog(logging.LoggerAdapter[logging.Logger]):
    """The life of a connection is told elsewhere, and the mistake of a peer is no error of ours."""

    def info(self, msg: object, *args: object, **kwargs: Any) -> None: ...

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


_NO_SOCKET, _NO_RESPONSE, _LOG = _NoSocket(), _NoResponse(), _QuietLog(logger, {})  # the same for all
