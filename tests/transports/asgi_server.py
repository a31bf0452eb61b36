"""The server's side of ASGI, under the control of a test."""

import asyncio
from typing import Any

from starlette.websockets import WebSocket


class Server:
    """The server's side of ASGI. Clear `writable` for a peer that does not read."""

    def __init__(self, **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self.gone = False
        self.defect: Exception | None = None
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        self.scope = {
            "type": "websocket",
            "path": "/stomp-ws",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": ["v10.stomp", "chat", "v12.stomp"],
            "client": ("192.0.2.1", 4000),
        }

    async def _receive(self) -> Any:
        return await self._messages.get()

    async def _send(self, message: Any) -> None:
        await self.writable.wait()
        if self.defect is not None:
            raise self.defect
        if self.gone:
            raise OSError("gone")
        self.sent.append(message)

    def websocket(self) -> WebSocket:
        return WebSocket(self.scope, self._receive, self._send)

    def text(self, text: str) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "text": text})

    def octets(self, data: bytes) -> None:
        self._messages.put_nowait({"type": "websocket.receive", "bytes": data, "text": None})

    def vanish(self) -> None:
        self.gone = True
        self._messages.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.writable.set()

    @property
    def waiting(self) -> int:
        return self._messages.qsize()

    @property
    def closes(self) -> list[int]:
        return [message["code"] for message in self.sent if message["type"] == "websocket.close"]

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if message.get("text") is not None]
