"""Upgrades that are not taken are ignored (RFC 9110 section 7.8): the body belongs to its request."""

import pytest

from tests.api.service import PUSH
from tests.frames import HANDSHAKE, TEXT, masked
from tests.http.site import ask, open_service
from tests.http.wire import Recorder, Seen, connect, cuts, hang_up, ours, send, statuses

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
NEXT = b"POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
ROUTES = ("push_all_obj", "push_all_obj/test1", "cluster/notify/test1", "push_msg", "push_batch", "push_topic/t")
JSON_ROUTES = {
    "push_msg": b'{"receiver":"test1","data":"hello"}',
    "push_batch": b'[{"receiver":"test1","data":"hello"}]',
}


def with_length(body: bytes) -> tuple[bytes, bytes]:
    return b"Content-Length: %d\r\n" % len(body), body


def in_chunks(body: bytes) -> tuple[bytes, bytes]:
    half = len(body) // 2
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part]
    return b"Transfer-Encoding: chunked\r\n", b"".join([*parts, b"0\r\n\r\n"])


BODIES = [pytest.param(with_length, id="length"), pytest.param(in_chunks, id="chunks")]
UPGRADES = [
    pytest.param(H2C, id="h2c"),
    pytest.param(WEBSOCKET, id="websocket"),
    pytest.param(b"Connection: upgrade\r\nUpgrade: IRC/6.9, TLS/1.0\r\n", id="others"),
]
TRANSPORTS = pytest.mark.parametrize("transport", ["picows", "asgi"])


@TRANSPORTS
@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("framed", BODIES)
async def test_body_of_an_ignored_upgrade_is_read_however_cut(transport: str, upgrade: bytes, framed: object) -> None:
    length, body = framed(SMUGGLED)  # type: ignore[operator]
    request = b"POST /push HTTP/1.1\r\nHost: a\r\n" + upgrade + length + b"\r\n" + body + NEXT
    for pieces in cuts(request):
        app = Recorder()
        wire = connect(ours(), app, transport)
        await send(wire, pieces)

        assert app.seen == [Seen("POST", "/push", "", SMUGGLED), Seen("POST", "/next", "", b"x")]
        assert statuses(wire.written) == [200, 200]
        assert (b"upgrade", upgrade.partition(b"Upgrade: ")[2].partition(b"\r\n")[0]) in app.scopes[0]["headers"]
        await hang_up(wire)


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        (b"GET / HTTP/1.0", b""),
        (b"POST / HTTP/1.1", b""),
        (b"GET / HTTP/1.1", b"Content-Length: %d\r\n" % len(SMUGGLED)),
        (b"GET / HTTP/1.1", b"Transfer-Encoding: chunked\r\n"),
    ],
)
async def test_invalid_handshake_is_an_ordinary_request(line: bytes, extra: bytes) -> None:
    head = HANDSHAKE.replace(b"GET /stomp-ws HTTP/1.1", line).replace(b"\r\n\r\n", b"\r\n" + extra + b"\r\n")
    body = in_chunks(SMUGGLED)[1] if b"chunked" in extra else SMUGGLED if extra else b""
    for pieces in cuts(head + body):
        app = Recorder()
        wire = connect(ours(), app)
        await send(wire, pieces)

        assert [(seen.path, seen.body) for seen in app.seen] == [("/", SMUGGLED if extra else b"")]
        assert statuses(wire.written) == [200]
        await hang_up(wire)


@pytest.mark.parametrize(
    "words",
    [
        b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: WebSocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
    ],
)
@TRANSPORTS
async def test_header_lines_are_combined(transport: str, words: bytes) -> None:
    handshake = HANDSHAKE.replace(b"Connection: Upgrade\r\n", b"").replace(b"Upgrade: websocket\r\n", words)
    async with open_service(ws_transport=transport) as running, ask(running.port, handshake) as (reader, _):
        assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("name", [b"Cookie", b"Sec-WebSocket-Protocol", b"X-Long"])
@TRANSPORTS
async def test_handshake_with_a_header_that_is_too_long_is_refused(transport: str, name: bytes) -> None:
    handshake = HANDSHAKE[:-2] + name + b": " + b"a" * 9_000 + b"\r\n\r\n"
    async with open_service(ws_transport=transport) as running, ask(running.port, handshake) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("version", [b"7", b"8", b"12", b"14"])
async def test_other_websocket_versions_get_426_with_version_13(version: bytes) -> None:
    # RFC 6455 section 4.4; 7 and 8 are drafts
    handshake = HANDSHAKE.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: " + version)
    async with open_service() as running, ask(running.port, handshake) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\n")


async def test_handshake_behind_a_running_request_is_ignored() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [NEXT + HANDSHAKE])

    assert [seen.path for seen in app.seen] == ["/next", "/stomp-ws"]
    assert statuses(wire.written) == [200, 200]
    await hang_up(wire)


async def test_connect_is_refused() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n" + SMUGGLED])

    assert (app.seen, statuses(wire.written), wire.is_closing()) == ([], [400], True)


async def test_frames_that_arrive_with_the_handshake_are_read() -> None:
    async with open_service() as running:
        connect_frame = masked(TEXT, b"CONNECT\naccept-version:1.2\npasscode:test1\n\n\0")
        async with ask(running.port, HANDSHAKE + connect_frame) as (reader, _):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert b"CONNECTED\n" in await reader.readuntil(b"\0")


@TRANSPORTS
async def test_every_push_route_reads_the_body_of_a_request_that_asks_for_h2c(transport: str) -> None:
    async with open_service(ws_transport=transport) as running:
        for route in ROUTES:
            for framed in (with_length, in_chunks):
                for has_two_segments in (False, True):
                    length, body = framed(JSON_ROUTES.get(route, b"hello"))
                    head = f"POST {PUSH}/{route} HTTP/1.1\r\nHost: a\r\n".encode() + H2C + length + b"\r\n"
                    async with ask(running.port, head if has_two_segments else head + body) as (reader, writer):
                        if has_two_segments:
                            writer.write(body)
                        answer = await reader.readuntil(b"\r\n\r\n")
                        assert answer.startswith(b"HTTP/1.1 200 "), (route, answer)
