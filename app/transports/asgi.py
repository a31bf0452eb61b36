"""STOMP over the WebSocket of any ASGI server."""

import asyncio
import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from app.disconnects import DISPLACED, GONE, SLOW_CONSUMER, DisconnectReason
from app.hub.outbox import Outbox
from app.transports.endpoint import ConnectionHandler, Endpoint
from app.transports.opening import WebSocketOptions, open_websocket, remote_of

LINGER_S = 30.0  # for a peer to read what was sent before, and the close frame
DISPLACED_S = 0.1  # for a peer that has to make room


async def serve_websocket(websocket: WebSocket, endpoint: Endpoint, options: WebSocketOptions) -> None:
    """Serve one connection from the handshake to its end. A foreign Origin gets 403."""
    if await open_websocket(websocket, options):
        await AsgiTransport(websocket, options).run(endpoint)


class AsgiTransport:
    """Queues frames in an outbox, so that sending never waits. One task per connection writes them."""

    name = "websocket"

    def __init__(self, websocket: WebSocket, options: WebSocketOptions) -> None:
        self.remote = remote_of(websocket)
        self._websocket = websocket
        self._connection: ConnectionHandler | None = None
        self._outbox = Outbox(options.outbox)
        self._reason: DisconnectReason | None = None
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._linger: asyncio.TimerHandle | None = None

    # The port `Transport`

    @property
    def has_room(self) -> bool:
        return self._outbox.has_room

    def send(self, data: bytes, binary: bool = False) -> None:
        if self._reason is not None:
            return
        overflow = self._outbox.offer(data, binary)
        if overflow is None:
            self._wake.set()
            if not self._outbox.has_room:
                self._room.clear()
        elif self._connection is not None:
            self._connection.end(overflow)

    def close(self, reason: DisconnectReason) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        if reason is SLOW_CONSUMER:
            self._outbox.clear()
        for event in (self._wake, self._room, self._readable):
            event.set()
        self._linger = asyncio.get_running_loop().call_later(
            DISPLACED_S if reason is DISPLACED else LINGER_S, self._abort
        )

    def _abort(self) -> None:
        for task in self._tasks:
            task.cancel()

    def pause_reading(self) -> None:
        if self._reason is None:
            self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def ask(self) -> bool:
        """Return False: ASGI has no pings."""
        return False

    is_asked = False

    async def writable(self) -> None:
        await self._room.wait()

    # The two directions

    async def run(self, endpoint: Endpoint) -> None:
        """Serve the connection until it ends."""
        self._connection = connection = endpoint.open(self)
        self._tasks = (asyncio.create_task(self._read(connection)), asyncio.create_task(self._write()))
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._reason = self._reason or GONE
            self._outbox.clear()
            connection.closed()
            self._room.set()
            self._abort()
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks, self._connection = (), None  # break reference cycles
            if self._linger is not None:
                self._linger.cancel()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self, connection: ConnectionHandler) -> None:
        """Pass on messages until the peer disconnects. `_write` performs a close by this side."""
        while True:
            while not self._readable.is_set():  # it may be cleared again before this task runs
                await self._readable.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            connection.receive(bytes(message["bytes"]) if text is None else text.encode())

    async def _write(self) -> None:
        """Send frames from the outbox, then the close frame."""
        with contextlib.suppress(WebSocketDisconnect, WebSocketDisconnected):
            while await self._next():
                data, binary = self._outbox.take()
                if self._outbox.has_room:
                    self._room.set()
                if binary:
                    await self._websocket.send_bytes(data)
                else:
                    await self._websocket.send_text(data.decode())

    async def _next(self) -> bool:
        """Wait for a frame in the outbox. Return False once the connection is closed."""
        while not self._outbox:
            if self._reason is not None:
                await self._websocket.close(self._reason.code, self._reason.text)
                return False
            self._wake.clear()
            await self._wake.wait()
        return True
