"""SockJS over WebSocket, and what it asks of HTTP."""

from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.sockjs.protocol.receivers import XHR_PRELUDE
from tests.sockjs.site import Site, open_site, session
from tests.sockjs_app import OPTIONS
from tests.transports.raw_http import Exchange

# WebSocket


async def test_websocket_carries_frames_and_ignores_what_is_empty(websocket_site: Site) -> None:
    client = await websocket_site.websocket(websocket_site.echo, session() + "/websocket")
    assert await client.recv() == "o"

    for message in ("", '["a"]', '"b"', "[]", '["c","d"]'):
        await client.send(message)

    assert [await client.recv() for _ in range(4)] == ['a["a"]', 'a["b"]', 'a["c"]', 'a["d"]']


async def test_websocket_says_the_reason_and_closes(websocket_site: Site) -> None:
    client = await websocket_site.websocket(websocket_site.close, session() + "/websocket")

    assert [await client.recv() for _ in range(2)] == ["o", 'c[3000,"Go away!"]']
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert (client.close_code, client.close_reason) == (3000, "Go away!")


@pytest.mark.parametrize("message", ['["a', "x", "1", "{}", "[1]"])
async def test_websocket_that_sends_nonsense_is_closed(websocket_site: Site, message: str) -> None:
    client = await websocket_site.websocket(websocket_site.echo, session() + "/websocket")
    assert await client.recv() == "o"

    await client.send(message)

    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == 4501


async def test_websockets_may_share_a_session_id(websocket_site: Site) -> None:
    path = session() + "/websocket"
    first, second = [await websocket_site.websocket(websocket_site.echo, path) for _ in range(2)]
    assert [await client.recv() for client in (first, second)] == ["o", "o"]

    await first.send('["a"]')
    await second.send('["b"]')

    assert [await client.recv() for client in (first, second)] == ['a["a"]', 'a["b"]']


async def test_raw_websocket_has_no_frames(websocket_site: Site) -> None:
    client = await websocket_site.websocket(websocket_site.echo, "/websocket")

    await client.send("Hello world!\uffff")

    assert await client.recv() == "Hello world!\uffff"


async def test_raw_websocket_is_closed_with_the_reason(websocket_site: Site) -> None:
    client = await websocket_site.websocket(websocket_site.close, "/websocket")

    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert (client.close_code, client.close_reason) == (3000, "Go away!")


@pytest.mark.parametrize("path", ["/a./a/websocket", "/a/a/xhr", "/a", "/a/a/a/websocket"])
async def test_websocket_elsewhere_is_not_found(websocket_site: Site, path: str) -> None:
    with pytest.raises(InvalidStatus, match="404"):
        await websocket_site.websocket(websocket_site.echo, path)


async def test_websocket_that_is_turned_off_is_not_found(websocket_site: Site) -> None:
    for path in ("/websocket", session() + "/websocket"):
        with pytest.raises(InvalidStatus, match="404"):
            await websocket_site.websocket(websocket_site.without_websocket, path)
        assert (await websocket_site.without_websocket.get(path)).status == 404


@pytest.mark.parametrize("path", ["/0/0/websocket", "/websocket"])
async def test_plain_request_for_a_websocket_is_told_what_it_lacks(site: Site, path: str) -> None:
    reply = await site.echo.get(path)
    assert (reply.status, reply.text) == (400, 'Can "Upgrade" only to "WebSocket".')
    reply = await site.echo.get(path, upgrade="WebSocket", connection="close")
    assert (reply.status, reply.text) == (400, '"Connection" must be "Upgrade".')


@pytest.mark.parametrize("headers", [{"Upgrade": "WebSocket", "Connection": "Upgrade"}, {}])
async def test_websocket_is_opened_by_get_alone(websocket_site: Site, headers: dict[str, str]) -> None:
    reply = await websocket_site.echo.request("POST", "/0/0/websocket", headers)

    assert (reply.status, reply.headers["allow"], reply.body) == (405, "GET", b"")
    assert "content-type" not in reply.headers


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade"])
async def test_handshake_is_answered(websocket_site: Site, connection: str) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": connection,
        "Sec-WebSocket-Version": "13",
        "Origin": "http://asd",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    }
    async with Exchange(websocket_site.port) as exchange:
        await exchange.send("GET", f"/echo{session()}/websocket", headers)
        reply = await exchange.head()
        assert reply.status == 101
        assert reply.headers["sec-websocket-accept"] == "HSmrc0sMlYUkAGmm5OPpG2HaGWk="
        assert reply.headers["connection"].lower() == "upgrade"
        assert reply.headers["upgrade"].lower() == "websocket"
        assert "content-length" not in reply.headers
        assert await exchange.exactly(3) == b"\x81\x01o"


async def test_handshake_from_a_foreign_origin_is_refused() -> None:
    strict = replace(OPTIONS.websockets, allowed_origins=("https://shop.example",))
    async with open_site(websockets=strict) as site, Exchange(site.port) as exchange:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Origin": "https://evil.example",
            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        }
        await exchange.send("GET", f"/echo{session()}/websocket", headers)
        assert (await exchange.head()).status == 403


# HTTP


async def test_greeting_over_http_1_0_has_a_length_and_no_chunks(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        reply = await exchange.request("GET", "/echo", {"Connection": "Keep-Alive"}, version="1.0")
        assert (reply.status, reply.body) == (200, b"Welcome to SockJS!\n")
        assert "transfer-encoding" not in reply.headers
        assert await exchange.rest() == b""


async def test_stream_over_http_1_0_ends_with_its_connection(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        path = f"/close{session()}/xhr_streaming"
        reply = await exchange.request("POST", path, {"Connection": "Keep-Alive"}, version="1.0")
        assert reply.status == 200
        assert not {"transfer-encoding", "content-length"} & reply.headers.keys()
        assert await exchange.rest() == XHR_PRELUDE + b'o\nc[3000,"Go away!"]\n'


async def test_connection_of_http_1_1_is_used_again(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        for _ in range(2):
            reply = await exchange.request("GET", "/echo", {"Connection": "Keep-Alive"})
            assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"Welcome to SockJS!\n", "19")
            assert reply.headers.get("connection", "keep-alive").lower() == "keep-alive"


async def test_stream_over_http_1_1_has_a_chunk_for_each_frame(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        await exchange.send("POST", f"/close{session()}/xhr_streaming")
        reply = await exchange.head()
        assert reply.headers["transfer-encoding"] == "chunked"
        assert [await exchange.chunk() for _ in range(4)] == [XHR_PRELUDE, b"o\n", b'c[3000,"Go away!"]\n', b""]
        assert (await exchange.request("GET", "/close")).status == 200
