"""A small STOMP client for tests; it hides nothing and forgives nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.stomp.codec import encode_frame
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.parser import FrameParser

TIMEOUT_S = 10.0


class StompClient:
    def __init__(self, websocket: ClientConnection, version: Version = Version.V12) -> None:
        self.websocket = websocket
        self.version = version
        self._parser = FrameParser(FrameLimits(max_frame_bytes=10_000_000))
        self._parser.version = version

    async def send(self, command: str, headers: dict[str, str] | None = None, body: bytes | str = b"") -> None:
        data = body.encode() if isinstance(body, str) else body
        frame = encode_frame(command, (headers or {}).items(), data, version=self.version)
        await self.send_raw(frame)

    async def send_raw(self, data: bytes) -> None:
        """As text where it is UTF-8, else as a binary message."""
        try:
            await self.websocket.send(data.decode())
        except UnicodeDecodeError:
            await self.websocket.send(data)

    async def receive(self, timeout_s: float = TIMEOUT_S) -> Frame:
        """The next frame. Raises TimeoutError, and ConnectionClosed at the end."""
        async with asyncio.timeout(timeout_s):
            while (frame := self._parser.next_frame()) is None:
                data = await self.websocket.recv()
                self._parser.feed(data.encode() if isinstance(data, str) else data)
        return frame

    async def expect(self, command: str, timeout_s: float = TIMEOUT_S) -> Frame:
        frame = await self.receive(timeout_s)
        assert frame.command == command, frame
        return frame

    async def silent(self, seconds: float) -> None:
        """Asserts that nothing comes."""
        try:
            frame = await self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"nothing was expected, {frame} came")

    async def closed(self, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
        """Close code and reason, once the server has hung up; frames on the way are passed over."""
        try:
            while True:
                await self.receive(timeout_s)
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    async def connect(self, token: str = "test1", **headers: str) -> Frame:
        accepted = {"accept-version": str(self.version), "host": "test", "heart-beat": "0,0"}
        await self.send("CONNECT", accepted | {"Authorization": f"Bearer {token}"} | headers)
        return await self.expect("CONNECTED")

    async def subscribe(self, destination: str = "/user/queue/msg", id: str = "sub-0", **headers: str) -> None:
        """Returns once the server has confirmed."""
        receipt = f"subscribed-{id}"
        await self.send("SUBSCRIBE", {"id": id, "destination": destination, "receipt": receipt} | headers)
        assert (await self.expect("RECEIPT")).headers["receipt-id"] == receipt

    async def ack(self, message_id: str) -> None:
        await self.send("SEND", {"destination": "/app/ack"}, message_id)


@asynccontextmanager
async def stomp_client(url: str, version: Version = Version.V12, **options: Any) -> AsyncIterator[StompClient]:
    """An open WebSocket; CONNECT is the test's to send."""
    options.setdefault("subprotocols", [Subprotocol(f"v{version.replace('.', '')}.stomp")])
    async with connect(url, max_size=None, **options) as websocket:
        yield StompClient(websocket, version)


@asynccontextmanager
async def listening(url: str, token: str = "test1", **headers: str) -> AsyncIterator[StompClient]:
    """Connected and subscribed to its messages."""
    async with stomp_client(url) as client:
        await client.connect(token)
        await client.subscribe(**headers)
        yield client
