"""WebSockets on picows for uvicorn: `uvicorn --ws app.picows.protocol:PicowsProtocol`.

Runs any ASGI application. One that finds `EXTENSION` in `scope["extensions"]` can take over a connection that it has
accepted, and then sends and receives without ASGI in between. TCP only, no compression.
"""

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from starlette.types import Message, Scope
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.http.headers import RawHeaders
from app.http.responses import response
from app.picows.frames import BINARY, TEXT, encode
from app.picows.handshake import Handshake, read_handshake
from app.picows.keepalive import Keepalive, start_keepalive
from app.picows.receiver import Receiver
from app.picows.socket import PicowsSocket
from app.picows.takeover import EXTENSION

MAX_EARLY_BYTES = 65_536  # from a client that does not wait for the response to its handshake
SHUTDOWN_S = 2.0  # for peers to read their close frame before the process ends
SERVICE_RESTART, FAILED, NORMAL = 1012, 1011, 1000

logger = logging.getLogger("uvicorn.error")


class State(enum.Enum):
    CONNECTING = enum.auto()
    RESPONDING = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()  # the application has closed or refused it
    GONE = enum.auto()  # the peer has gone, or the server is shutting down


class PicowsProtocol(asyncio.Protocol):
    """One connection. uvicorn's HTTP protocol creates it for an upgrade, and passes the request as the first data."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server = server_state
        self._app_state = app_state
        self._handshake: Handshake | None = None
        self._response: tuple[int, RawHeaders] | None = None
        self._body = b""
        self._early = b""
        self._socket: PicowsSocket | None = None
        self._state = State.CONNECTING
        self._events: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Event | None = None
        self._keepalive: Keepalive | None = None

    # The handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has another type
        self._server.connections.add(self)  # type: ignore[arg-type]  # uvicorn's union lists its own protocols

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self._transport.pause_reading()
        elif self._state is State.CONNECTING:
            handshake = read_handshake(data)
            if isinstance(handshake, Handshake):
                self._start(handshake)
            else:
                self._respond(handshake)

    def _start(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self._events.append({"type": "websocket.connect"})
        task = asyncio.get_running_loop().create_task(self._run(self._scope(handshake)))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _scope(self, handshake: Handshake) -> Scope:
        root_path = self._config.root_path
        raw_path, _, query = handshake.path.partition(b"?")
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root_path,
            "path": root_path + unquote(raw_path.decode("ascii")),
            "raw_path": root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": handshake.headers,
            "subprotocols": handshake.subprotocols,
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"takeover": self}},
        }

    def _respond(self, data: bytes) -> None:
        """Write an HTTP response instead of opening the WebSocket, and close."""
        self._state = State.CLOSED
        self._queue({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        self._transport.write(data)
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the transport, before the WebSocket is open. Afterwards the socket calls `closed` and `_lost`."""
        self.closed(1006, "")
        self._lost()

    def _lost(self) -> None:
        self._state = State.GONE
        self._server.connections.discard(self)
        if self._keepalive is not None:
            self._keepalive.cancel()

    def shutdown(self) -> None:
        """Called by uvicorn when the process stops. Connections that are left after `SHUTDOWN_S` are aborted."""
        if self._socket is not None:
            self._socket.close(SERVICE_RESTART, "service restart")
            self._socket.expire_in(SHUTDOWN_S)
            if self._state is State.OPEN:
                self._queue({"type": "websocket.disconnect", "code": SERVICE_RESTART, "reason": ""})
        elif self._state is not State.GONE:
            if self._state is not State.CLOSED:
                self._respond(response(HTTPStatus.SERVICE_UNAVAILABLE))
                self._state = State.GONE  # closed by the server, not by the application
            asyncio.get_running_loop().call_later(SHUTDOWN_S, self._transport.abort)

    # The application

    async def _run(self, scope: Scope) -> None:
        try:
            result: object = await self._config.loaded_app(scope, self._receive, self._send)
        except ClientDisconnected:
            self._end(FAILED)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except BaseException:
            logger.exception("Exception in ASGI application\n")
            self._end(FAILED)
        else:
            if self._state in (State.CONNECTING, State.RESPONDING):
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
            self._end(NORMAL)

    def _end(self, code: int) -> None:
        """Close what the application has left open when it returned."""
        if self._socket is not None:
            self._socket.close(code)
        elif self._state in (State.CONNECTING, State.RESPONDING):
            self._respond(response(HTTPStatus.INTERNAL_SERVER_ERROR))

    async def _receive(self) -> Message:
        while not self._events:
            self._transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._events[0]["type"] == "websocket.disconnect":
            return self._events[0]  # stays there for further calls
        return self._events.popleft()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        handler = SENDERS.get((self._state, kind))
        if handler is not None:
            await handler(self, message)
        elif self._state is State.GONE:
            raise ClientDisconnected
        else:
            raise RuntimeError(f"ASGI message '{kind}' cannot be sent while the WebSocket is {self._state.name}.")

    async def _accept(self, message: Message) -> None:
        if self._transport.is_closing():
            raise ClientDisconnected
        assert self._handshake is not None
        headers = [*self._server.default_headers, *message.get("headers", ())]
        if message.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", message["subprotocol"].encode("latin-1")))
        self._transport.write(self._handshake.accept(headers))
        self._state = State.OPEN
        self._socket = PicowsSocket(self._transport, self, max_bytes=self._config.ws_max_size, on_lost=self._lost)
        self._keepalive = start_keepalive(self._socket, self._server, self._config)
        early, self._early = self._early, b""
        self._socket.feed(early)
        self._transport.resume_reading()

    async def _deny(self, message: Message) -> None:
        self._respond(response(HTTPStatus.FORBIDDEN))

    async def _start_response(self, message: Message) -> None:
        self._response = message["status"], [*message.get("headers", ())]
        self._state = State.RESPONDING

    async def _send_body(self, message: Message) -> None:
        assert self._response is not None
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            status, headers = self._response
            self._respond(response(status, self._body, headers))

    async def _send_data(self, message: Message) -> None:
        assert self._socket is not None
        while self._socket.blocked and self._socket.is_open:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            await self._writable.wait()
        if not self._socket.is_open:
            raise ClientDisconnected  # ends a sender in a loop, which would not wait any more
        data = message.get("bytes")
        if data is None:
            self._socket.write(encode(TEXT, message["text"].encode()))
        else:
            self._socket.write(encode(BINARY, data))

    async def _close(self, message: Message) -> None:
        assert self._socket is not None
        self._state = State.CLOSED
        code, reason = message.get("code", NORMAL), message.get("reason") or ""
        self._socket.close(code, reason)
        self._queue({"type": "websocket.disconnect", "code": code, "reason": reason})

    # Called by the socket

    def receive_text(self, data: bytes) -> None:
        self._queue_message({"type": "websocket.receive", "text": data.decode()})

    def receive_binary(self, data: bytes) -> None:
        self._queue_message({"type": "websocket.receive", "bytes": data})

    def resume(self) -> None:
        if self._writable is not None:
            self._writable.set()

    def closed(self, code: int, reason: str) -> None:
        if self._state is not State.CLOSED:
            self._state = State.GONE
            self._queue({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.resume()

    def _queue_message(self, event: Message) -> None:
        if self._waiter is None or self._waiter.done():
            self._transport.pause_reading()
        self._queue(event)

    def _queue(self, event: Message) -> None:
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Taken over

    @property
    def socket(self) -> PicowsSocket:
        assert self._socket is not None, "not accepted"
        return self._socket

    def hand_over(self, receiver: Receiver) -> None:
        self.socket.receiver = receiver
        self._transport.resume_reading()  # a message that the application did not receive has paused it
        for event in self._events:
            if event["type"] == "websocket.disconnect":
                receiver.closed(event["code"], event["reason"])
            elif (text := event.get("text")) is not None:
                receiver.receive_text(text.encode())
            else:
                receiver.receive_binary(event["bytes"])
        self._events.clear()


SENDERS: Mapping[tuple[State, str], Callable[[PicowsProtocol, Message], Awaitable[None]]] = {
    (State.CONNECTING, "websocket.accept"): PicowsProtocol._accept,
    (State.CONNECTING, "websocket.close"): PicowsProtocol._deny,
    (State.CONNECTING, "websocket.http.response.start"): PicowsProtocol._start_response,
    (State.RESPONDING, "websocket.http.response.body"): PicowsProtocol._send_body,
    (State.OPEN, "websocket.send"): PicowsProtocol._send_data,
    (State.OPEN, "websocket.close"): PicowsProtocol._close,
}
