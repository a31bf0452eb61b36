"""The handshake as an ASGI application and its clients see it."""

import asyncio

import httpx
import pytest
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.frames import HANDSHAKE, PING, PONG, TEXT, RawClient, masked, raw_client
from tests.picows.application import Application, Handler, echo, sink, talking
from tests.transports.serving import serving


async def status(handler: Handler, **headers: str) -> httpx.Response:
    """Return the response to a handshake that the application does not accept."""
    application = Application(handler)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    async with serving(application) as port, httpx.AsyncClient() as http:
        return await http.get(f"http://127.0.0.1:{port}/", headers=upgrade | headers)


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


async def test_accept_sends_subprotocol_and_headers() -> None:
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


async def test_connection_header_may_have_other_tokens() -> None:
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


async def test_application_may_respond_with_an_unregistered_status() -> None:
    async def handler(websocket: WebSocket) -> None:
        await websocket.send({"type": "websocket.http.response.start", "status": 499, "headers": []})
        await websocket.send({"type": "websocket.http.response.body", "body": b"why"})

    response = await status(handler)

    assert (response.status_code, response.text) == (499, "why")


@pytest.mark.parametrize("raises", [True, False])
async def test_application_that_does_not_respond_gets_500(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
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


async def test_bytes_that_arrive_before_accept_are_kept() -> None:
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


async def test_frame_that_is_cut_by_accept_may_follow_a_large_one() -> None:
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


async def test_bytes_that_arrive_before_accept_are_limited() -> None:
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


async def test_disconnect_before_accept_is_reported_to_the_application() -> None:
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
