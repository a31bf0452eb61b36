"""Messages of any size and their fragments, and buffers that stay small."""

import asyncio

import pytest
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from starlette.websockets import WebSocket

from app.picows.frames import BINARY as BINARY_FRAME
from app.picows.frames import encode
from app.picows.takeover import takeover_of
from tests.eventually import eventually
from tests.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked, raw_client
from tests.picows.application import Application, echo, raw, talking
from tests.transports.serving import serving_on_uvloop


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8192, 8193, 65_535, 65_536, 400_000])
async def test_messages_of_any_size_pass_both_ways(size: int) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while (message := await websocket.receive())["type"] == "websocket.receive":
            await websocket.send(
                {"type": "websocket.send"} | {k: message[k] for k in ("text", "bytes") if k in message}
            )

    async with talking(handler) as (_, client):
        await client.send("ü" * (size // 2))
        assert await client.recv() == "ü" * (size // 2)
        await client.send(b"\xff" * size)
        assert await client.recv() == b"\xff" * size


async def test_fragments_are_one_message_and_control_frames_may_come_between() -> None:
    async with raw() as (_, client):
        await client.send(
            masked(TEXT, b"gr\xc3", fin=False),
            masked(PING, b"?"),
            masked(CONTINUATION, b"", fin=False),
            masked(CONTINUATION, b"\xbc\xc3\x9fe"),
            masked(TEXT, b"next"),
        )
        assert await client.receive() == (PONG, b"?")
        assert await client.receive() == (TEXT, "grüße".encode())
        assert await client.receive() == (TEXT, b"next")


async def test_large_read_buffer_is_released() -> None:
    async with talking(echo) as (application, client):
        for text in ("x" * 300_000, "small"):
            await client.send(text)
            assert await client.recv() == text
        assert len(application.protocol.socket.reader.get_buffer(-1)) < 4096


@pytest.mark.parametrize("last", [TEXT, PONG])
async def test_large_read_buffer_is_released_after_a_small_frame_behind_the_large_one(last: int) -> None:
    async with raw(echo) as (application, client):
        for _ in range(3):
            await client.send(masked(TEXT, b"x" * 300_000) + masked(last, b"small"))
        await client.send(masked(TEXT, b"end"))
        while (await client.receive())[1] != b"end":
            pass
        assert len(application.protocol.socket.reader.get_buffer(-1)) < 4096


@pytest.mark.parametrize("kind", [PONG, TEXT])
async def test_flood_of_small_frames_does_not_grow_the_buffer(kind: int) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        while await websocket.receive_text() != "end":
            pass
        await websocket.send_text("that was it")

    async with raw(handler) as (application, client):
        await client.send(masked(kind, b"x" * 100) * 100_000, masked(TEXT, b"end"))
        assert await client.receive() == (TEXT, b"that was it")
        reader = application.protocol.socket.reader
        assert len(WSProtocol.get_buffer(reader, -1)) <= 131_072


async def test_flood_after_the_close_does_not_grow_the_buffer() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(1001)

    async with raw(handler) as (application, client):
        assert (await client.receive())[0] == CLOSE
        socket = application.protocol.socket
        await client.send(masked(PONG, b"x" * 100) * 100_000)
        assert len(WSProtocol.get_buffer(socket.reader, -1)) <= 131_072
        await client.send(masked(CLOSE, b"\x03\xe9"))
        await application.ended()


async def test_frames_stay_whole_while_the_peer_does_not_read() -> None:
    """Frames must be copied: uvloop keeps a reference to unsent data, and picows reuses the memory of its frames."""
    sizes = [5, 10_000, 9000]

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        socket = takeover_of(websocket.scope).socket  # type: ignore[union-attr]
        for number in range(600):  # more than the kernel buffers
            for size in sizes:
                socket.write(encode(BINARY_FRAME, bytes([number % 251]) * (size + number)))
            await asyncio.sleep(0)
        await websocket.receive()

    with serving_on_uvloop(Application(handler)) as port:
        async with raw_client(port) as client:
            client.pause()
            await asyncio.sleep(0.3)
            client.resume()
            for number in range(600):
                for size in sizes:
                    assert await client.receive() == (BINARY, bytes([number % 251]) * (size + number))


async def test_sender_waits_for_a_peer_that_does_not_read() -> None:
    sent = 0

    async def handler(websocket: WebSocket) -> None:
        nonlocal sent
        await websocket.accept()
        for sent in range(1000):  # noqa: B007
            await websocket.send_bytes(bytes(100_000))

    async with raw(handler) as (application, client):
        client.pause()
        await asyncio.sleep(0.3)
        assert 0 < sent < 500
        client.writer.transport.abort()
        await application.ended()
        assert sent < 500


async def test_peer_waits_for_an_application_that_does_not_receive() -> None:
    gate = asyncio.Event()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await gate.wait()
        await echo_on(websocket)

    async def echo_on(websocket: WebSocket) -> None:
        async for text in websocket.iter_text():
            if text == "end":
                await websocket.send_text(text)

    async with raw(handler) as (application, client):
        client.writer.write(masked(TEXT, b"x" * 100_000) * 200 + masked(TEXT, b"end"))
        await asyncio.sleep(0.3)
        waiting = sum(len(event.get("text", "")) for event in application.protocol._events)
        assert 0 < waiting < 1_000_000
        gate.set()
        assert await client.receive() == (TEXT, b"end")


async def test_pongs_to_a_peer_that_does_not_read_do_not_accumulate() -> None:
    async with raw() as (application, client):
        client.pause()
        pings = masked(PING, b"x" * 125) * 1000
        for _ in range(200):
            client.writer.write(pings)
            await asyncio.sleep(0)
        await eventually(lambda: not client.writer.transport.get_write_buffer_size())
        assert application.protocol._transport.get_write_buffer_size() < 200_000
