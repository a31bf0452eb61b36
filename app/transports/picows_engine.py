"""picows put under a connection that is already a WebSocket, and kept from what it would do otherwise."""

import asyncio
import logging
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from picows import WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows import picows as engine

BUFFER_BYTES = 2048  # for each connection, and twice as much whenever it is full
READ_AT_ONCE_BYTES = 65_536

# The handshake is over before picows sees anything: this lets it begin.
_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


logger = logging.getLogger(__name__)


def attach(
    transport: asyncio.Transport, listener: WSListener, *, max_bytes: int, on_broken: Callable[[int, str], None]
) -> "Reader":
    """Puts a new reader, with a small buffer, between the transport and the listener.

    `on_broken` is called with a close code and a text when picows cannot go on reading. It writes nothing itself.
    """
    reader = Reader(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=lambda _: WSUpgradeResponseWithListener(_NOTHING, listener),
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
    reader.connection_made(_Wire(transport, on_broken))
    transport.set_protocol(reader)
    reader.feed(_REQUEST)
    return reader


class Reader(engine.WSProtocol):  # type: ignore[name-defined, misc]  # missing in the stubs of picows
    """Reads a bounded number of bytes at once: or the buffer would grow with all that is there, and never shrink.

    `has_read`: bytes came, of whole frames or not, since somebody set it to False.
    """

    __slots__ = ("has_read",)

    def get_buffer(self, size_hint: int) -> memoryview:
        self.has_read = True
        buffer: memoryview = _get_buffer(self, size_hint)
        return buffer if len(buffer) <= READ_AT_ONCE_BYTES else buffer[:READ_AT_ONCE_BYTES]

    def feed(self, data: bytes) -> bytes:
        """Takes bytes as if they had just been read, as many as there is room for, and gives the others back."""
        buffer = self.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        self.buffer_updated(size)
        return data[size:]


_get_buffer = engine.WSProtocol.get_buffer  # type: ignore[attr-defined]  # found at once; it is called for each read


class Drain(asyncio.Protocol):
    """Reads and forgets, until the peer has gone: a socket that is closed with bytes unread resets the connection,
    and the peer would lose the close frame.
    """

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()


class _Wire:
    """The transport as picows sees it. Writing is not its business, nor is hanging up, which it would do too early
    for `Drain`: all that it ever wants to say is the close frame when it cannot go on reading.
    """

    def __init__(self, transport: asyncio.Transport, on_broken: Callable[[int, str], None]) -> None:
        self._transport = transport
        self._on_broken = on_broken

    def get_extra_info(self, name: str) -> Any:
        if name == "socket":
            return _SOCKET
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


class _Socket:
    """picows sets and asks options for its log, in six system calls; the listener's are as they should be."""

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, *_: int) -> int:
        return 0


class _Nothing(WSUpgradeResponse):
    """The answer to a handshake that has been answered."""

    def __init__(self) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers = {}  # type: ignore[assignment]  # picows puts in one that nobody reads

    def to_bytes(self) -> bytearray:
        return bytearray()


class _Log(logging.LoggerAdapter[logging.Logger]):
    """The life of a connection is told elsewhere, and the mistake of a peer is no error of ours."""

    def info(self, msg: object, *args: object, **kwargs: Any) -> None: ...

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


_SOCKET, _NOTHING, _LOG = _Socket(), _Nothing(), _Log(logger, {})  # the same for all
