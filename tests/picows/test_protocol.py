"""The protocol class as ASGI applications and WebSocket clients see it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

import app.picows.protocol as picows_protocol
from app.picows.frames import BINARY as BINARY_FRAME
from app.picows.frames import encode
from app.picows.keepalive import Keepalive, KeepaliveTimer
from app.picows.protocol import PicowsProtocol
from app.picows.socket import PicowsSocket
from app.picows.takeover import EXTENSION, takeover_of
from tests.eventually import eventually
from tests.frames import BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, TEXT, RawClient, masked, raw_client
from tests.transports.serving import serving, serving_on_uvloop

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
    """Runs a handler for each WebSocket, and keeps what became of it."""

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


async def status(handler: Handler, **headers: str) -> httpx.Response:
    """How the handshake is answered where it is not accepted."""
    application = Application(handler)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    async with serving(application) as port, httpx.AsyncClient() as http:
        return await http.get(f"http://127.0.0.1:{port}/", headers=upgrade | headers)


# The handshake


async def test_application_sees_the_request() -> None:
    application = Application(echo)
    async with (
        serving(application) as port,
        connect(
            f"ws://127.0.0.1:{port}/a%20b?x=1&y=%20",
            subprotocols=[Subprotocol("one"), Subprotocol("two")],
            additional_headers={"X-Name": "grüße"},
        ) as client,
    ):
        scope = application.scopes[0]
        assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"x=1&y=%20")
        assert scope["subprotocols"] == ["one", "two"]
        assert scope["server"] == ("127.0.0.1", port)
        assert scope["client"] == client.local_address
        assert dict(scope["headers"])[b"host"] == f"127.0.0.1:{port}".encode()


async def test_acceptance_carries_subprotocol_and_headers() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept("two", [(b"X-Name", "grüße".encode("latin-1")), (b"set-cookie", b"a=1")])

    application = Application(handler)
    async with (
        serving(application) as port,
        connect(f"ws://127.0.0.1:{port}/", subprotocols=[Subprotocol("two")]) as client,
    ):
        assert client.subprotocol == "two"
        assert client.response is not None
        assert client.response.headers["X-Name"] == "grüße"
        assert client.response.headers["set-cookie"] == "a=1"
        assert len(client.response.headers.get_all("date")) == 1


async def test_compression_is_declined() -> None:
    async with talking(echo) as (_, client):
        assert client.protocol.extensions == []
        await client.send("x" * 1000)
        assert await client.recv() == "x" * 1000


async def test_connection_header_may_have_other_words() -> None:
    handshake = HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade")
    async with serving(Application(echo)) as port, raw_client(port, handshake) as client:
        await client.send(masked(TEXT, b"hello"))
        assert await client.receive() == (TEXT, b"hello")


async def test_close_before_accept_is_403() -> None:
    assert (await status(lambda websocket: websocket.close())).status_code == 403


async def test_application_may_answer_with_a_response_of_its_own() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.send(
            {"type": "websocket.http.response.start", "status": 429, "headers": [(b"retry-after", b"7")]}
        )
        await websocket.send({"type": "websocket.http.response.body", "body": b"slo", "more_body": True})
        await websocket.send({"type": "websocket.http.response.body", "body": b"wly"})

    async def receiving(websocket: WebSocket) -> None:
        await websocket.receive()
        await handler(websocket)

    response = await status(receiving)

    assert (response.status_code, response.text, response.headers["retry-after"]) == (429, "slowly", "7")


async def test_status_of_the_application_may_be_one_without_a_name() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.send({"type": "websocket.http.response.start", "status": 499, "headers": []})
        await websocket.send({"type": "websocket.http.response.body", "body": b"why"})

    response = await status(handler)

    assert (response.status_code, response.text) == (499, "why")


@pytest.mark.parametrize("raises", [True, False])
async def test_application_that_does_not_answer_is_500(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(websocket: WebSocket) -> None:
        if raises:
            raise RuntimeError("a defect")

    assert (await status(handler)).status_code == 500
    assert ("a defect" if raises else "without completing handshake") in caplog.text


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [("Sec-WebSocket-Version", "12", 426), ("Sec-WebSocket-Key", "short", 400), ("Sec-WebSocket-Key", "", 400)],
)
async def test_broken_handshake_never_reaches_the_application(header: str, value: str, code: int) -> None:
    async def handler(websocket: WebSocket) -> None:
        raise AssertionError

    assert (await status(handler, **{header: value})).status_code == code


async def test_bytes_that_come_before_the_acceptance_are_kept() -> None:
    gate = asyncio.Event()

    async def handler(websocket: WebSocket) -> None:
        await gate.wait()
        await echo(websocket)

    async with serving(Application(handler)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await asyncio.sleep(0.05)
        writer.write(masked(TEXT, b"early") + masked(TEXT, b"x" * 100_000)[:-1])
        await asyncio.sleep(0.05)
        gate.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"y")
        client = RawClient(reader, writer)
        assert await client.receive() == (TEXT, b"early")
        assert await client.receive() == (TEXT, b"x" * 99_999 + b"y")
        writer.close()


async def test_frame_that_is_cut_by_the_acceptance_may_follow_a_large_one() -> None:
    gate = asyncio.Event()

    async def handler(websocket: WebSocket) -> None:
        await gate.wait()
        await echo(websocket)

    large, small = masked(TEXT, b"x" * 114_674), masked(TEXT, b"small")  # the large one just fills a buffer
    async with serving(Application(handler)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await asyncio.sleep(0.05)
        writer.write(large + small[:-1])
        await asyncio.sleep(0.05)
        gate.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(small[-1:])
        client = RawClient(reader, writer)
        assert await client.receive() == (TEXT, b"x" * 114_674)
        assert await client.receive() == (TEXT, b"small")
        writer.close()


async def test_bytes_that_come_before_the_acceptance_are_bounded() -> None:
    gate = asyncio.Event()

    async def handler(websocket: WebSocket) -> None:
        await gate.wait()
        await sink(websocket)

    application = Application(handler)
    async with serving(application) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await asyncio.sleep(0.05)
        writer.write(masked(PONG, b"x" * 100) * 200_000)
        await asyncio.sleep(0.2)
        assert 0 < len(application.protocol._early) < 1_000_000
        gate.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(PING, b"all read"))
        assert await RawClient(reader, writer).receive() == (PONG, b"all read")
        writer.close()


async def test_who_takes_over_gets_what_has_come_before() -> None:
    gate, received = asyncio.Event(), list[object]()

    class Taker:
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
        takeover.hand_over(Taker())
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


async def test_client_that_leaves_before_the_acceptance_is_told_to_the_application() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.receive()
        await websocket.receive()
        with pytest.raises(ClientDisconnected):
            await websocket._send({"type": "websocket.accept"})

    application = Application(handler)
    async with serving(application) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert await application.ended() is None
        assert application.disconnects[0]["code"] == 1006


# Messages


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


async def test_large_buffer_is_given_back() -> None:
    async with talking(echo) as (application, client):
        for text in ("x" * 300_000, "small"):
            await client.send(text)
            assert await client.recv() == text
        assert len(application.protocol.socket.reader.get_buffer(-1)) < 4096


@pytest.mark.parametrize("last", [TEXT, PONG])
async def test_large_buffer_is_given_back_though_a_small_frame_came_with_the_large_one(last: int) -> None:
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
    """On uvloop, which keeps a reference to what it could not write: picows lends it the memory of its next frame."""
    sizes = [5, 10_000, 9000]

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        socket = takeover_of(websocket.scope).socket  # type: ignore[union-attr]
        for number in range(600):  # more than the kernel takes
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


async def test_flood_of_pings_of_a_peer_that_does_not_read_is_not_gathered() -> None:
    async with raw() as (application, client):
        client.pause()
        pings = masked(PING, b"x" * 125) * 1000
        for _ in range(200):
            client.writer.write(pings)
            await asyncio.sleep(0)
        await eventually(lambda: not client.writer.transport.get_write_buffer_size())
        assert application.protocol._transport.get_write_buffer_size() < 200_000


# The end


async def test_close_of_the_application_has_code_and_reason() -> None:
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
async def test_close_of_the_peer_is_echoed_and_told(payload: bytes, code: int, reason: str) -> None:
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
async def test_end_of_the_application_is_the_end_of_the_connection(
    raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        if raises:
            raise RuntimeError("a defect")

    async with raw(handler) as (_, client):
        assert await client.closed() == (1011 if raises else 1000)
    assert ("a defect" in caplog.text) is raises


async def test_sending_to_who_has_gone_is_an_oserror() -> None:
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
async def test_message_out_of_place_is_a_defect_of_the_application(messages: list[dict[str, Any]]) -> None:
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
async def test_broken_peer_is_closed_with_the_code_for_it(frames: list[bytes], code: int) -> None:
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


async def test_peer_that_sends_garbage_after_a_close_frame_is_not_waited_for() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async with raw(handler) as (_, client):
        assert (await client.receive())[0] == CLOSE
        client.writer.write(masked(3, b"a") + bytes(3_000_000))
        async with asyncio.timeout(30):
            assert await client.reader.read() == b""


async def test_who_speaks_and_is_spoken_to_is_not_pinged() -> None:
    async with raw(echo, ws_ping_interval=0.2, ws_ping_timeout=0.2) as (_, client):
        for _ in range(20):
            await client.send(masked(TEXT, b"hello"))
            assert await client.receive() == (TEXT, b"hello")
            await asyncio.sleep(0.05)


async def test_who_only_speaks_is_pinged_all_the_same() -> None:
    async with raw(sink, ws_ping_interval=0.1, ws_ping_timeout=0.2) as (_, client):
        kinds = []
        for _ in range(4):
            await client.send(masked(TEXT, b"hello"))
            kinds.append((await client.receive())[0])
        assert kinds == [PING] * 4  # what he says is as good as a pong


async def test_silent_peer_is_given_up() -> None:
    async with raw(ws_ping_interval=0.05, ws_ping_timeout=0.05) as (_, client):
        for _ in range(3):
            opcode, data = await client.receive()
            assert opcode == PING
            await client.send(masked(PONG, data))
        assert await client.closed() == 1011


async def test_all_are_pinged_also_those_who_come_when_all_others_have_gone() -> None:
    async with serving(Application(echo), ws_ping_interval=0.1, ws_ping_timeout=None) as port:
        for _ in range(2):
            async with raw_client(port) as one, raw_client(port) as other:
                assert [(await client.receive())[0] for client in (one, other, one)] == [PING] * 3
            await asyncio.sleep(0.3)


class Turn:
    """Of a connection that is due; the first time it may fail."""

    def __init__(self, timer: KeepaliveTimer, fails: bool) -> None:
        self.timer = timer
        self.fails = fails
        self.count = 0
        timer.add(cast(Keepalive, self), 0.02)

    def act(self) -> None:
        self.count += 1
        if self.fails:
            raise RuntimeError("a defect")
        self.timer.add(cast(Keepalive, self), 0.02)


async def test_defect_at_one_connection_leaves_the_others_their_pings(caplog: pytest.LogCaptureFixture) -> None:
    timer = KeepaliveTimer(0.05, None)
    turns = [Turn(timer, fails=number == 1) for number in range(4)]
    await eventually(lambda: min(turn.count for turn in turns if not turn.fails) >= 3)
    assert turns[1].count == 1
    assert [record.message for record in caplog.records] == ["a connection could not be kept alive"]


async def test_peer_on_a_slow_line_is_not_taken_for_silent_while_its_frame_is_under_way() -> None:
    # it cannot answer a ping inside of a frame
    async with raw(ws_ping_interval=0.2, ws_ping_timeout=0.2) as (_, client):
        frame = masked(TEXT, b"x" * 100)
        for byte in range(len(frame)):
            await client.send(frame[byte : byte + 1])
            await asyncio.sleep(0.01)
        while (received := await client.receive()) == (PING, b""):
            pass
        assert received == (TEXT, b"x" * 100)


# Taken over


class Keeper:
    """A receiver that keeps what it is given."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def receive_text(self, data: bytes) -> None:
        self.got.append(data)

    receive_binary = receive_text

    def resume(self) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


async def test_receiver_hears_what_comes_after_a_message_that_the_application_left_waiting() -> None:
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


# The end of the server


async def test_shutdown_tells_both_sides() -> None:
    application = Application(sink)
    async with serving(application) as port:
        client = await connect(f"ws://127.0.0.1:{port}/")
        listening = asyncio.create_task(client.recv())
        await asyncio.sleep(0)
    with pytest.raises(ConnectionClosed):
        await listening
    assert client.close_code == 1012
    assert application.disconnects[0]["code"] == 1012


async def test_application_that_waits_before_it_answers_hears_of_the_end() -> None:
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


async def test_application_cannot_send_without_end_once_the_end_has_begun() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        takeover_of(websocket.scope).shutdown()  # type: ignore[union-attr]
        await websocket._send({"type": "websocket.send", "text": "late"})

    async with raw(handler) as (application, client):
        assert await client.closed() == 1012
        assert isinstance(await application.ended(), ClientDisconnected)


async def test_peer_that_never_reads_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_deadline_is_never_put_off() -> None:
    async with raw() as (application, _):
        socket: PicowsSocket = application.protocol.socket
        socket.expire_in(0.05)
        socket.expire_in(10)
        await application.ended()
