"""Connections while the server stops."""

import asyncio
import time

import pytest
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import app.picows.protocol as picows_protocol
from app.picows.socket import PicowsSocket
from app.picows.takeover import takeover_of
from tests.eventually import eventually
from tests.frames import HANDSHAKE
from tests.picows.application import Application, raw, sink
from tests.transports.serving import serving


async def test_shutdown_closes_with_1012_and_disconnects_the_application() -> None:
    application = Application(sink)
    async with serving(application) as port:
        client = await connect(f"ws://127.0.0.1:{port}/")
        listening = asyncio.create_task(client.recv())
        await asyncio.sleep(0)
    with pytest.raises(ConnectionClosed):
        await listening
    assert client.close_code == 1012
    assert application.disconnects[0]["code"] == 1012


async def test_application_that_has_not_accepted_yet_is_disconnected_at_shutdown() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.receive()
        await websocket.receive()
        with pytest.raises(ClientDisconnected):
            await websocket._send({"type": "websocket.accept"})

    application = Application(handler)
    async with serving(application) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await eventually(lambda: application.scopes)
        await asyncio.sleep(0)
        application.protocol.shutdown()
        assert await application.ended() is None
        assert (await reader.read()).startswith(b"HTTP/1.1 503")
        writer.close()


async def test_application_that_sends_in_a_loop_is_stopped_at_shutdown() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        takeover_of(websocket.scope).shutdown()  # type: ignore[union-attr]
        await websocket._send({"type": "websocket.send", "text": "late"})

    async with raw(handler) as (application, client):
        assert await client.closed() == 1012
        assert isinstance(await application.ended(), ClientDisconnected)


async def test_peer_that_never_reads_does_not_delay_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picows_protocol, "SHUTDOWN_S", 0.2)

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_bytes(bytes(100_000))

    async with raw(handler) as (_, client):
        client.pause()
        await asyncio.sleep(0.2)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 2


async def test_earliest_deadline_counts() -> None:
    async with raw() as (application, _):
        socket: PicowsSocket = application.protocol.socket
        socket.expire_in(0.05)
        socket.expire_in(10)
        await application.ended()
