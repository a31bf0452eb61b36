"""A SockJS client for tests, over each transport: to a STOMP client it looks like a WebSocket.

Every request has a connection of its own, so that a balancer between may send each to another node.
"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from tests.client import StompClient
from tests.transports.raw_http import Exchange

TRANSPORTS = ("websocket", "xhr-streaming", "xhr-polling", "eventsource", "htmlfile", "jsonp-polling")
RECEIVING = {
    "xhr-streaming": ("POST", "xhr_streaming"),
    "xhr-polling": ("POST", "xhr"),
    "eventsource": ("GET", "eventsource"),
    "htmlfile": ("GET", "htmlfile?c=cb"),
    "jsonp-polling": ("GET", "jsonp?c=cb"),
}
_SCRIPT = re.compile(r'(?:p|cb)\((".*")\);')
PATIENCE_S = 40.0


class SockJsClient:
    """`port` is asked before each request. `polls` counts the requests that received."""

    def __init__(self, port: Callable[[], int], path: str, transport: str) -> None:
        self._port = port
        self._path = f"{path}/000/{uuid.uuid4().hex}"
        self._transport = transport
        self._method, self._receiving = RECEIVING[transport]
        self._messages: asyncio.Queue[str | Close] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._turn = asyncio.Lock()
        self._receiver: asyncio.Task[None] | None = None
        self._close: Close | None = None
        self.polls = 0

    async def open(self) -> None:
        self._receiver = asyncio.create_task(self._receive())
        opened = asyncio.create_task(self._opened.wait())
        await asyncio.wait({self._receiver, opened}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self._receiver.done():
            self._receiver.result()
        assert self._opened.is_set()

    async def send(self, message: str) -> None:
        body = json.dumps([message]).encode()
        headers = {"Content-Type": "text/plain"}
        name, status = "xhr_send", 204
        if self._transport == "jsonp-polling":
            name, status, body = "jsonp_send", 200, b"d=" + quote(body).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self._turn, Exchange(self._port()) as exchange:
            reply = await exchange.request("POST", f"{self._path}/{name}", headers, body)
        assert reply.status == status, reply

    async def recv(self) -> str:
        """Raises ConnectionClosed with what the close frame said."""
        if self._close is None:
            message = await self._messages.get()
            if isinstance(message, str):
                return message
            self._close = message
        raise ConnectionClosedError(self._close, None)

    async def close(self) -> None:
        """Goes away without a word, as a page does."""
        if self._receiver is not None:
            self._receiver.cancel()
            await asyncio.gather(self._receiver, return_exceptions=True)

    async def _receive(self) -> None:
        try:
            while await self._receive_response():
                pass
        except (OSError, EOFError, ValueError) as error:
            self._messages.put_nowait(Close(1006, str(error)))

    async def _receive_response(self) -> bool:
        self.polls += 1
        async with Exchange(self._port()) as exchange:
            await exchange.send(self._method, f"{self._path}/{self._receiving}")
            reply = await exchange.head(PATIENCE_S)
            assert reply.status == 200, reply
            if "content-length" in reply.headers:
                return self._take(await exchange.exactly(int(reply.headers["content-length"])))
            while chunk := await exchange.chunk(PATIENCE_S):
                if not self._take(chunk):
                    return False
        return True

    def _take(self, data: bytes) -> bool:
        """False after a close frame."""
        for frame in self._frames(data.decode()):
            if frame == "o":
                self._opened.set()
            elif frame[:1] == "a":
                for message in json.loads(frame[1:]):
                    self._messages.put_nowait(message)
            elif frame[:1] == "c":
                self._messages.put_nowait(Close(*json.loads(frame[1:])))
                return False
        return True

    def _frames(self, text: str) -> list[str]:
        if self._transport in ("htmlfile", "jsonp-polling"):
            return [json.loads(quoted) for quoted in _SCRIPT.findall(text)]
        return [line.removeprefix("data: ") for line in text.split("\n" if "\r" not in text else "\r\n")]


class FramedWebSocket:
    """SockJS over WebSocket."""

    def __init__(self, websocket: "connect") -> None:
        self._connecting = websocket
        self._messages: list[str] = []

    async def open(self) -> None:
        self._websocket = await self._connecting
        assert await self._websocket.recv() == "o"

    async def send(self, message: str) -> None:
        await self._websocket.send(json.dumps([message]))

    async def recv(self) -> str:
        while not self._messages:
            frame = str(await self._websocket.recv())
            if frame[:1] == "a":
                self._messages += json.loads(frame[1:])
            elif frame[:1] == "c":
                raise ConnectionClosedError(Close(*json.loads(frame[1:])), None)
        return self._messages.pop(0)

    async def close(self) -> None:
        await self._websocket.close()


AnySockJs = SockJsClient | FramedWebSocket


@asynccontextmanager
async def sockjs_client(
    port: int | Callable[[], int], transport: str, path: str = "/stomp-ws"
) -> AsyncIterator[AnySockJs]:
    """Open, over one of TRANSPORTS."""
    choose = port if callable(port) else lambda: port
    client: AnySockJs
    if transport == "websocket":
        url = f"ws://127.0.0.1:{choose()}{path}/000/{uuid.uuid4().hex}/websocket"
        client = FramedWebSocket(connect(url, max_size=None))
    else:
        client = SockJsClient(choose, path, transport)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def stomp_over_sockjs(port: int | Callable[[], int], transport: str) -> AsyncIterator[StompClient]:
    """CONNECT is the test's to send."""
    async with sockjs_client(port, transport) as client:
        yield StompClient(client)  # type: ignore[arg-type]  # as much of a WebSocket as it uses
