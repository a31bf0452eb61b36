"""An application takes over the connection."""

import asyncio

from starlette.websockets import WebSocket

from app.picows.takeover import takeover_of
from tests.eventually import eventually
from tests.frames import BINARY, CLOSE, HANDSHAKE, TEXT, masked
from tests.picows.application import Application, raw
from tests.transports.serving import serving


async def test_receiver_gets_messages_that_arrived_before_the_takeover() -> None:
    gate, received = asyncio.Event(), list[object]()

    class Recorder:
        def receive_text(self, data: bytes) -> None:
            received.append((data, True))

        def receive_binary(self, data: bytes) -> None:
            received.append((data, False))

        def resume(self) -> None: ...

        def closed(self, code: int, reason: str) -> None:
            received.append(code)
            gate.set()

    async def handler(websocket: WebSocket) -> None:
        await gate.wait()
        await websocket.accept()
        takeover = takeover_of(websocket.scope)
        assert takeover is not None
        takeover.hand_over(Recorder())
        gate.clear()
        await gate.wait()

    async with serving(Application(handler)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await asyncio.sleep(0.05)
        writer.write(masked(TEXT, b"one") + masked(BINARY, b"two"))
        await asyncio.sleep(0.05)
        gate.set()
        await eventually(lambda: len(received) == 2)
        writer.write(masked(TEXT, b"three") + masked(CLOSE, b"\x03\xe8"))
        await eventually(lambda: len(received) == 4)
        assert received == [(b"one", True), (b"two", False), (b"three", True), 1000]
        assert (await reader.read()).endswith(b"\x88\x02\x03\xe8")
        writer.close()


class Keeper:
    """A receiver that records what it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def receive_text(self, data: bytes) -> None:
        self.got.append(data)

    receive_binary = receive_text

    def resume(self) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


async def test_takeover_resumes_reading_that_an_unreceived_message_had_paused() -> None:
    keeper, waiting = Keeper(), asyncio.Event()

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        takeover = takeover_of(websocket.scope)
        assert takeover is not None
        await eventually(lambda: not takeover.socket.transport.is_reading())
        takeover.hand_over(keeper)
        waiting.set()
        await eventually(lambda: len(keeper.got) == 2)

    async with raw(handler) as (application, client):
        await client.send(masked(TEXT, b"first"))
        await waiting.wait()
        await client.send(masked(TEXT, b"second"))
        assert await application.ended() is None
    assert keeper.got == [b"first", b"second"]
