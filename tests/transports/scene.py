"""A gateway behind each WebSocket transport, and clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.gateway.routing import AppMessage, DestinationRoutes
from app.hub.outbox import OutboxLimits
from app.hub.session import Session
from app.transports.opening import WebSocketOptions
from app.transports.websockets import WebSockets
from tests.eventually import eventually
from tests.frames import TEXT, RawClient, masked, raw_client
from tests.gateway.conversation import Stage, settle
from tests.transports.serving import serving

CONNECT = "CONNECT\naccept-version:1.2\npasscode:alice\n\n\0"


SUBSCRIBE = "SUBSCRIBE\nid:s\ndestination:/user/queue/msg\nreceipt:subscribed\n\n\0"


KILOBYTES_100 = b"x" * 100_000


class Handlers(DestinationRoutes):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.running = 0
        self.message("/app/slow")(self.slow)

    async def slow(self, message: AppMessage) -> None:
        self.running += 1
        await self.gate.wait()
        self.running -= 1


class Scene:
    """A gateway on a real server, behind WebSockets as in production."""

    def __init__(self, transport: str, stack: AsyncExitStack) -> None:
        self.handlers = Handlers()
        self.stage = Stage(routes=self.handlers, inbox=10_000)
        self.transport = transport
        self.outbox = OutboxLimits()
        self.port = 0
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websockets = WebSockets(WebSocketOptions(outbox=self.outbox))
        await websockets.serve(WebSocket(scope, receive, send), self.stage.gateway)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stomp-ws"

    @property
    def session(self) -> Session:
        (session,) = self.stage.hub
        return session

    def gone_for(self, reason: object) -> bool:
        return not self.stage.hub and set(self.stage.disconnects) == {reason}

    async def connected(self) -> ClientConnection:
        client = await self._stack.enter_async_context(connect(self.url, subprotocols=OFFERED))
        await client.send(CONNECT)
        assert str(await client.recv()).startswith("CONNECTED")
        await client.send(SUBSCRIBE)
        assert str(await client.recv()).startswith("RECEIPT")
        return client

    async def raw(self) -> RawClient:
        """Return a connected raw client that has read CONNECTED."""
        client = await self._stack.enter_async_context(raw_client(self.port))
        await client.send(masked(TEXT, CONNECT.encode()))
        assert (await client.receive())[1].startswith(b"CONNECTED")
        return client

    async def fill(self) -> RawClient:
        """Connect a client that stops reading, and fill its connection so that further frames wait in the outbox."""
        client = await self.raw()
        client.pause()
        session = self.session
        for _ in range(1000):
            if not session.transport.has_room:
                return client
            session.send(KILOBYTES_100)
            await asyncio.sleep(0)
        raise AssertionError("the outbox stayed empty")


OFFERED = [Subprotocol("v10.stomp"), Subprotocol("chat"), Subprotocol("v12.stomp")]


@asynccontextmanager
async def open_scene(transport: str) -> AsyncIterator[Scene]:
    """Open a scene. Check at its end that no connection, session or task is left."""
    async with AsyncExitStack() as stack:
        scene = Scene(transport, stack)
        async with serving(scene, transport) as scene.port:
            yield scene
            await stack.aclose()
            scene.handlers.gate.set()
            await eventually(lambda: not scene.stage.hub and not scene.stage.gateway._transports)
        await scene.stage.gateway.aclose()
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def code_of(client: ClientConnection) -> tuple[int | None, str | None]:
    with suppress(ConnectionClosed):
        async with asyncio.timeout(30):
            while True:
                await client.recv()
    return client.close_code, client.close_reason
