"""ASGI applications on the protocol class, and clients for them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect

from app.picows.protocol import PicowsProtocol
from app.picows.takeover import EXTENSION
from tests.eventually import eventually
from tests.frames import RawClient, raw_client
from tests.transports.serving import serving

Handler = Callable[[WebSocket], Awaitable[None]]


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def sink(websocket: WebSocket) -> None:
    await websocket.accept()
    while (await websocket.receive())["type"] == "websocket.receive":
        pass


class Application:
    """Runs a handler for each WebSocket. Records scopes, disconnects and how each handler ended."""

    def __init__(self, handler: Handler) -> None:
        self.scopes: list[Scope] = []
        self.disconnects: list[dict[str, Any]] = []
        self.errors: list[BaseException | None] = []
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting() -> Any:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.disconnects.append(dict(message))
            return message

        self.scopes.append(scope)
        try:
            await self._handler(WebSocket(scope, noting, send))
        except Exception as error:
            self.errors.append(error)
            raise
        self.errors.append(None)

    async def ended(self) -> BaseException | None:
        await eventually(lambda: len(self.errors) == len(self.scopes) == 1)
        return self.errors[0]

    @property
    def protocol(self) -> PicowsProtocol:
        protocol: PicowsProtocol = self.scopes[-1]["extensions"][EXTENSION]["takeover"]
        return protocol


@asynccontextmanager
async def talking(handler: Handler, **changes: object) -> AsyncIterator[tuple[Application, ClientConnection]]:
    application = Application(handler)
    async with serving(application, **changes) as port, connect(f"ws://127.0.0.1:{port}/") as client:  # type: ignore[arg-type]
        yield application, client


@asynccontextmanager
async def raw(handler: Handler = echo, **changes: object) -> AsyncIterator[tuple[Application, RawClient]]:
    application = Application(handler)
    async with serving(application, **changes) as port, raw_client(port) as client:  # type: ignore[arg-type]
        yield application, client
