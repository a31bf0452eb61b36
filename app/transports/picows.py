"""STOMP directly on picows: no task between socket and session, and no queue while the peer reads."""

import asyncio

from starlette.websockets import WebSocket

from app.disconnects import DISPLACED, GONE, SLOW_CONSUMER, DisconnectReason
from app.hub.outbox import Outbox
from app.picows.flush import Flusher, write_all
from app.picows.frames import BINARY, TEXT, encode
from app.picows.socket import PicowsSocket
from app.picows.takeover import Takeover
from app.transports.endpoint import ConnectionHandler, Endpoint
from app.transports.opening import WebSocketOptions, open_websocket, remote_of

LINGER_S = 30.0  # for a peer to read what was sent before, and the close frame
SLOW_S = 5.0  # for a slow consumer
DISPLACED_S = 0.1  # for a peer that has to make room: an attacker does not complete the closing handshake
GATHERED_BYTES = 65_536  # if there is more, it is written before the turn ends
FRAMES_PER_WRITE = 32  # of the outbox


async def serve_picows(
    websocket: WebSocket, endpoint: Endpoint, options: WebSocketOptions, takeover: Takeover, flusher: Flusher
) -> None:
    """Serve one connection from the handshake to its end. A foreign Origin gets 403."""
    if await open_websocket(websocket, options):
        await PicowsTransport(takeover, options, flusher, remote_of(websocket)).run(endpoint)


class PicowsTransport:
    """Writes at the end of a turn of the event loop. While the peer does not read, frames wait in a bounded outbox."""

    __slots__ = (
        "_connection",
        "_ended",
        "_flusher",
        "_gathered",
        "_gathered_bytes",
        "_outbox",
        "_reason",
        "_room",
        "_socket",
        "_takeover",
        "name",
        "receive_binary",
        "receive_text",
        "remote",
    )

    def __init__(self, takeover: Takeover, options: WebSocketOptions, flusher: Flusher, remote: str | None) -> None:
        self.name = "websocket"
        self.remote = remote
        self._takeover = takeover
        self._socket = takeover.socket
        self._connection: ConnectionHandler | None = None
        self.receive_text = self.receive_binary = _ignore
        self._flusher = flusher
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._outbox = Outbox(options.outbox)
        self._reason: DisconnectReason | None = None
        self._room: asyncio.Event | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # The port `Transport`

    @property
    def has_room(self) -> bool:
        return self._outbox.has_room

    def send(self, data: bytes, binary: bool = False) -> None:
        if self._reason is not None:
            return
        if self._socket.blocked:
            overflow = self._outbox.offer(data, binary)
            if overflow is not None and self._connection is not None:
                self._connection.end(overflow)
            return
        if not self._gathered:
            self._flusher.add(self)
        self._gathered.append(encode(BINARY, data) if binary else self._flusher.frame(data))
        self._gathered_bytes += len(data)
        if self._gathered_bytes > GATHERED_BYTES:
            self._flush()

    def close(self, reason: DisconnectReason) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        if reason is SLOW_CONSUMER:
            self._outbox.clear()
        self._socket.transport.resume_reading()
        self._socket.expire_in(_linger_s(reason))
        self._write_outbox()

    def pause_reading(self) -> None:
        if self._reason is None:
            self._socket.transport.pause_reading()

    def resume_reading(self) -> None:
        self._socket.transport.resume_reading()

    def ask(self) -> bool:
        socket = self._socket
        may_answer = self._reason is None and socket.transport.is_reading()
        if may_answer:
            socket.ping()
            socket.is_asked = True
        return may_answer

    @property
    def is_asked(self) -> bool:
        return self._socket.is_asked

    async def writable(self) -> None:
        while self._reason is None and not self.has_room:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()

    # Called by the socket

    def resume(self) -> None:
        self._write_outbox()

    def closed(self, code: int, reason: str) -> None:
        self._reason = self._reason or GONE
        self._outbox.clear()
        self._gathered.clear()
        self._wake_writers()
        if not self._ended.done():
            self._ended.set_result(None)
        connection, self._connection = self._connection, None
        self.receive_text = self.receive_binary = _ignore
        if connection is not None:
            connection.closed()

    # Writing

    def take(self) -> tuple[PicowsSocket, bytes]:
        """Return what was gathered in this turn; empty if it has been written already."""
        frames = self._gathered
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        frames.clear()
        self._gathered_bytes = 0
        return self._socket, data

    def _flush(self) -> None:
        if self._gathered:
            write_all([self.take()])

    def _write_outbox(self) -> None:
        """Write frames from the outbox while the peer reads. Close once all is written, if that is due."""
        outbox, socket = self._outbox, self._socket
        self._flush()
        while outbox and not socket.blocked:
            waiting = [outbox.take() for _ in range(min(len(outbox), FRAMES_PER_WRITE))]
            socket.write(b"".join(encode(BINARY if binary else TEXT, data) for data, binary in waiting))
        if self._reason is not None and not outbox:
            socket.close(self._reason.code, self._reason.text, LINGER_S)
        self._wake_writers()

    def _wake_writers(self) -> None:
        if self._room is not None:
            self._room.set()

    async def run(self, endpoint: Endpoint) -> None:
        """Serve the connection until it ends."""
        self._connection = connection = endpoint.open(self)
        self.receive_text = self.receive_binary = connection.receive  # called directly by the socket
        self._takeover.hand_over(self)
        try:
            await self._ended
        except asyncio.CancelledError:
            self.closed(GONE.code, GONE.text)
            self._socket.transport.abort()
            raise


def _linger_s(reason: DisconnectReason) -> float:
    if reason is DISPLACED:
        return DISPLACED_S
    return SLOW_S if reason is SLOW_CONSUMER else LINGER_S


def _ignore(data: bytes) -> None: ...
