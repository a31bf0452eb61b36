"""Close a connection: by the application, by the peer, after a violation of the protocol."""

import asyncio
from typing import Any

import pytest
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from websockets.exceptions import ConnectionClosed

from tests.frames import BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, TEXT, masked
from tests.picows.application import Application, raw, sink, talking
from tests.transports.serving import serving


async def test_application_closes_with_code_and_reason() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("before")
        await websocket.close(4321, "grüße")

    async with talking(handler) as (_, client):
        assert await client.recv() == "before"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4321, "grüße")


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"\x03\xe8", 1000, ""), (b"\x0f\xa0bye", 4000, "bye"), (b"", 1005, ""), (b"\x0b\xb8", 3000, "")],
)
async def test_close_of_the_peer_is_echoed_and_reported(payload: bytes, code: int, reason: str) -> None:
    async with raw() as (application, client):
        await client.send(masked(CLOSE, payload))
        assert await client.receive() == (CLOSE, payload[:2])
        assert await client.reader.read() == b""
        await application.ended()
        assert application.disconnects == [{"type": "websocket.disconnect", "code": code, "reason": reason}]


async def test_lost_connection_is_1006() -> None:
    async with raw() as (application, client):
        client.writer.transport.abort()
        await application.ended()
        assert application.disconnects[0]["code"] == 1006


@pytest.mark.parametrize("raises", [True, False])
async def test_return_of_the_application_closes_the_connection(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        if raises:
            raise RuntimeError("a defect")

    async with raw(handler) as (_, client):
        assert await client.closed() == (1011 if raises else 1000)
    assert ("a defect" in caplog.text) is raises


async def test_sending_after_the_peer_has_gone_is_an_oserror() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        await websocket._send({"type": "websocket.send", "text": "late"})

    async with raw(handler) as (application, client):
        await client.send(masked(CLOSE, b"\x03\xe8"))
        assert isinstance(await application.ended(), ClientDisconnected)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "websocket.send", "text": "x"}],
        [{"type": "websocket.http.response.body", "body": b""}],
        [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
        [{"type": "websocket.accept"}, {"type": "websocket.close"}, {"type": "websocket.send", "text": "x"}],
        [{"type": "websocket.close"}, {"type": "websocket.accept"}],
    ],
)
async def test_asgi_message_in_the_wrong_state_raises_in_the_application(messages: list[dict[str, Any]]) -> None:
    application = Application(lambda websocket: send_all(websocket))

    async def send_all(websocket: WebSocket) -> None:
        for message in messages:
            await websocket._send(message)

    async with serving(application) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        assert "cannot be sent" in str(await application.ended())
        writer.close()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([masked(TEXT, b"a" * 1001)], 1009),
        ([masked(TEXT, b"a" * 600, fin=False), masked(CONTINUATION, b"a" * 600)], 1009),
        ([masked(BINARY, b"", fin=False), *[masked(CONTINUATION, b"a" * 10, fin=False)] * 101], 1009),
        ([masked(TEXT, b"\xff")], 1007),
        ([masked(TEXT, b"\xc3")], 1007),
        ([masked(TEXT, b"\xc3", fin=False), masked(CONTINUATION, b"(", fin=False)], 1007),
        ([masked(CLOSE, b"\x03\xe8\xff")], 1007),
        *[([masked(opcode, b"a", rsv=rsv)], 1002) for opcode in (TEXT, PING, CLOSE) for rsv in (1, 2, 4)],
        ([masked(CONTINUATION, b"a")], 1002),
        ([masked(TEXT, b"a", fin=False), masked(TEXT, b"a")], 1002),
        ([masked(TEXT, b"a"), masked(CONTINUATION, b"a")], 1002),
        ([masked(3, b"a")], 1002),
        ([masked(PING, b"a", fin=False)], 1002),
        ([b"\x81\x01a"], 1002),
        *[([masked(CLOSE, code.to_bytes(2, "big"))], 1002) for code in (0, 999, 1004, 1005, 1006, 2999, 5000)],
        *[([masked(CLOSE, code.to_bytes(2, "big")) + masked(3, b"a")], 1002) for code in (1006, 5000)],
    ],
)
async def test_protocol_violation_is_closed_with_its_code(frames: list[bytes], code: int) -> None:
    async with raw(sink, ws_max_size=1000) as (application, client):
        await client.send(*frames)
        assert await client.closed() == code
        await application.ended()
        assert application.disconnects[0]["code"] == code


async def test_close_code_reaches_a_peer_that_goes_on_sending() -> None:
    async with raw(ws_max_size=1000) as (_, client):
        client.pause()
        client.writer.write(masked(TEXT, bytes(1_000_000))[:100_000])
        for _ in range(3):
            await asyncio.sleep(0.05)
            client.writer.write(bytes(300_000))
        client.resume()
        assert await client.closed() == 1009


async def test_peer_that_sends_garbage_after_a_close_frame_is_disconnected() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async with raw(handler) as (_, client):
        assert (await client.receive())[0] == CLOSE
        client.writer.write(masked(3, b"a") + bytes(3_000_000))
        async with asyncio.timeout(30):
            assert await client.reader.read() == b""
