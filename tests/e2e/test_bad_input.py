"""Whatever comes over the wire, it is answered in order and the service goes on.

That no input leaves a traceback in the log is checked when the server of this module stops.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.client import listening, stomp_client
from tests.frames import BINARY, CLOSE, HANDSHAKE, PING, TEXT, masked
from tests.service import Server, running_server

SETTINGS = {"ALLOWED_ORIGINS": "https://shop.example", "LOG_ACK_EVENTS": "false", "INBOUND_BURST": "100000"}
PUSH = b"POST /vh-stomp-wsend/push_all_obj/test1 HTTP/1.1\r\nHost: service.test\r\nContent-Length: 5\r\n\r\nhello"
CONNECT = b"CONNECT\naccept-version:1.2\npasscode:test1\n\n\0"


async def becomes(look: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(100):
        if await look():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not become so")


@pytest.fixture(autouse=True)
async def still_works(server: Server) -> AsyncIterator[None]:
    """After each test: the service is ready, has forgotten everybody, and serves the next one."""
    yield
    async with httpx.AsyncClient(base_url=server.url) as http:

        async def is_empty() -> bool:
            answer = await http.get("/readyz")
            state = answer.json()
            return (answer.status_code, state.get("status"), state.get("sessions")) == (200, "ready", 0)

        await becomes(is_empty)
        async with listening(server.websocket_url, "test-after") as client:
            answer = await http.post("/vh-stomp-wsend/push_all_obj/test-after", content="on")
            assert answer.json()["sessions"] == 1
            await client.ack((await client.expect("MESSAGE")).headers["message-id"])


def exchange(server: Server, *pieces: bytes, wait_s: float = 0.3, reset: bool = False) -> bytes:
    """Sends the pieces on one connection and returns what comes until the server hangs up or has nothing to say."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(wait_s)
        try:
            for piece in pieces:
                connection.sendall(piece)
                if piece is HANDSHAKE:
                    assert connection.recv(65536).startswith(b"HTTP/1.1 101")
            while not reset and (data := connection.recv(65536)):
                answer += data
        except OSError:
            pass
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return answer


def close_code(answer: bytes) -> int:
    """Of the close frame that stands last in the answer."""
    at = answer.rindex(b"\x88")
    return int.from_bytes(answer[at + 2 : at + 4], "big")


# STOMP


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SEND\ndestination:/topic/a\n\nx\0", "not connected"),
        (b"\0", "malformed frame"),
        (b"CONNECT\0", "malformed frame"),
        (b"CONNECT\nno colon\n\n\0", "malformed frame"),
        (b"CONNECT\naccept-version:9\n\n\0", "unsupported version"),
        (b"CONNECT\naccept-version:1.2\nheart-beat:x\n\n\0", "bad heart-beat"),
        (b"CONNECT\naccept-version:1.2\n\n\0", "The token is illegal"),
        (b"CONNECT\naccept-version:1.2\npasscode:nobody\n\n\0", "The token is illegal"),
        (CONNECT + CONNECT, "already connected"),
        (CONNECT + b"SHOUT\n\n\0", "unknown command"),
        (CONNECT + b"connect\n\n\0", "unknown command"),
        (CONNECT + b"MESSAGE\n\n\0", "unknown command"),
        (CONNECT + b"SUBSCRIBE\nid:1\n\n\0", "missing header"),
        (CONNECT + b"SUBSCRIBE\ndestination:/topic/a\n\n\0", "missing header"),
        (CONNECT + b"SEND\n\nx\0", "missing header"),
        (CONNECT + b"ACK\n\n\0", "missing header"),
        (CONNECT + b"COMMIT\ntransaction:1\n\n\0", "unknown transaction"),
        (CONNECT + b"SEND\ndestination:/topic/\\x\n\n\0", "malformed frame"),
        (CONNECT + b"SEND\ndestination:/app/ack\ncontent-length:-1\n\n\0", "malformed frame"),
        (CONNECT + b"SEND\ndestination:/app/ack\ncontent-length:1\n\nxyz\0", "malformed frame"),
        (CONNECT + b"SEND\ndestination:/app/ack\ncontent-length:999999999\n\nx\0", "frame too large"),
        (CONNECT + b"BEGIN\ntransaction:1\n\nbody\0", "malformed frame"),
        (CONNECT + b"SUBSCRIBE\nid:1\ndestination:/user/bob/queue/msg\n\n\0", "Not allowed"),
    ],
)
async def test_violation_is_one_error_and_the_end(data: bytes, message: str, server: Server) -> None:
    async with stomp_client(server.websocket_url) as client:
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            await client.send_raw(half)
        frame = await client.receive()
        if data.startswith(CONNECT):
            assert frame.command == "CONNECTED"
            frame = await client.receive()
        assert (frame.command, frame.headers["message"]) == ("ERROR", message)
        code, _ = await client.closed()
        assert code in (4501, 4507, 4510) if message != "frame too large" else code == 1009


@pytest.mark.parametrize(("connected", "size", "code"), [(False, 64 * 1024, 4501), (True, 256 * 1024, 1009)])
async def test_frame_over_its_limit_is_an_error_and_too_big(
    connected: bool, size: int, code: int, server: Server
) -> None:
    async with stomp_client(server.websocket_url) as client:
        if connected:
            await client.connect()
            await client.send("SEND", {"destination": "/app/sendMessage", "receipt": "fits"}, "a" * (size - 100))
            await client.expect("RECEIPT")
        command = "SEND\ndestination:/app/sendMessage" if connected else "CONNECT\naccept-version:1.2"
        await client.send_raw(f"{command}\n\n{'a' * size}\0".encode())

        assert (await client.expect("ERROR")).headers["message"] == "frame too large"
        assert (await client.closed())[0] == code


async def test_endless_frame_is_cut_off(server: Server) -> None:
    async with stomp_client(server.websocket_url) as client:
        await client.connect()
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1000):
                await client.send_raw(b"a" * 10_000)
        assert (await client.closed())[0] == 1009


# WebSocket


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([masked(TEXT, b"a" * 600_000)], 1009),
        ([masked(TEXT, b"a" * 300_000, fin=False), masked(0, b"a" * 300_000)], 1009),
        ([masked(TEXT, CONNECT), b"\x81\xff" + b"\x7f" * 8 + bytes(4)], 1009),
        ([masked(TEXT, b"\xff\xfe")], 1007),
        ([masked(TEXT, b"abc\xc3", fin=False), masked(0, b"(")], 1007),
        ([masked(TEXT, CONNECT), masked(TEXT, b"\xed\xa0\x80")], 1007),
        ([b"\x81\x01a"], 1002),
        ([masked(TEXT, b"a", rsv=4)], 1002),
        ([masked(0, b"a")], 1002),
        ([masked(3, b"a")], 1002),
        ([masked(PING, b"a" * 126)], 1002),
        ([masked(CLOSE, b"\x03")], 1002),
        ([masked(CLOSE, b"\0\1")], 1002),
        ([masked(CLOSE, b"\x03\xe9\xff")], 1007),
        ([masked(CLOSE, b"\x03\xe9"), masked(TEXT, CONNECT)], 1001),
        ([b"GET / HTTP/1.1\r\n\r\n"], 1002),
    ],
)
async def test_broken_websocket_is_closed_with_the_code_for_it(frames: list[bytes], code: int, server: Server) -> None:
    answer = await asyncio.to_thread(exchange, server, HANDSHAKE, *frames)

    assert close_code(answer) == code


async def test_frame_may_be_cut_over_messages_of_both_kinds(server: Server) -> None:
    async with connect(server.websocket_url) as websocket:
        await websocket.send("")
        await websocket.send(b"")
        await websocket.send(CONNECT[:20].decode())
        await websocket.send(CONNECT[20:])
        assert str(await websocket.recv()).startswith("CONNECTED\n")


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/stomp-ws", "https://evil.example", 403),
        ("/stomp-ws/websocket", "null", 403),
        ("/stomp-ws", "http://[", 403),
        ("/stomp-ws/", None, 404),
        ("/stomp-ws/nope", None, 404),
        ("/nope", None, 403),
        ("/healthz", None, 403),
        ("/static/page.js", None, 403),
    ],
)
async def test_foreign_origin_and_wrong_path_are_refused(
    path: str, origin: str | None, status: int, server: Server
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers):
            pass
    assert refused.value.response.status_code == status


@pytest.mark.parametrize("path", ["/stomp-ws", "/stomp-ws/websocket"])
@pytest.mark.parametrize("origin", ["https://shop.example", "http://127.0.0.1:{port}", None])
async def test_own_and_listed_origins_are_welcome(path: str, origin: str | None, server: Server) -> None:
    headers = {} if origin is None else {"Origin": origin.format(port=server.port)}
    url = f"ws://127.0.0.1:{server.port}{path}"
    async with stomp_client(url, additional_headers=headers) as client:
        await client.connect()
        assert client.websocket.subprotocol == "v12.stomp"


# HTTP


@pytest.mark.parametrize(
    "pieces",
    [
        (PUSH.replace(b"Length: 5", b"Length: 500"),),
        (PUSH.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),),
        (PUSH.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")[:-5] + b"zz\r\nhello",),
        (PUSH.replace(b"Length: 5", b"Length: " + b"9" * 5000),),
        (PUSH.replace(b"Length: 5", b"Length: -1"),),
        (PUSH.replace(b"Length: 5", b"Length: 400000") + b"a" * 300_000,),
        (b"GET / HTTP/9.9\r\n\r\n",),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",),
        (b"GET /\xff\0 HTTP/1.1\r\nHost: [\r\n\r\n",),
        (b"\x16\x03\x01\x02\x00\x01" + bytes(100),),
        (HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x"),),
        (HANDSHAKE.replace(b": 13", b": 6"),),
        (HANDSHAKE.replace(b"GET", b"POST"),),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_broken_request_harms_nobody(pieces: tuple[bytes, ...], reset: bool, server: Server) -> None:
    answer = await asyncio.to_thread(exchange, server, *pieces, wait_s=0.1, reset=reset)

    assert not answer or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("tail", [b"/", b"/.", b"/..", b"/%2e", b"/./", b"//", b"%0A", b"/%0a", b"/../push_all_obj"])
async def test_push_to_a_name_that_is_none_is_neither_a_broadcast_nor_redirected(tail: bytes, server: Server) -> None:
    async with listening(server.websocket_url, "test-private") as client:
        answer = await asyncio.to_thread(exchange, server, PUSH.replace(b"/test1", tail))

        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 422")), answer
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post("/vh-stomp-wsend/push_all_obj/test-private", content="mine")
        assert b'"mine"' in (await client.expect("MESSAGE")).body


async def test_body_over_the_limit_is_refused_before_it_has_come(server: Server) -> None:
    head = PUSH.replace(b"Length: 5", b"Length: 600000")

    answer = await asyncio.to_thread(exchange, server, head)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert b"urn:stomp-notify:problem:too-large" in answer


# Chance


def mutated(source: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(changed) + 1)
        match source.randrange(4):
            case 0:
                changed[at:at] = source.choice([b"\0", b"\n", b"\r\n", b":", b"\\", b"\xff", b"\n\n", b"\xf0\x9f"])
            case 1:
                del changed[at : at + source.randint(1, 8)]
            case 2:
                changed[at : at + 1] = source.randbytes(1)
            case _:
                changed[at:at] = changed[at : at + source.randint(1, 20)]
    return bytes(changed)


SESSION = (
    CONNECT
    + b"SUBSCRIBE\nid:1\ndestination:/user/queue/msg\nack:client\nreceipt:1\n\n\0"
    + b"SUBSCRIBE\nid:2\ndestination:/topic/messages\n\n\0BEGIN\ntransaction:t\n\n\0"
    + b'SEND\ndestination:/app/ack\ntransaction:t\ncontent-length:9\n\n["a","b"]\0'
    + b"COMMIT\ntransaction:t\nreceipt:2\n\n\0"
    + b"SEND\ndestination:/app/sendMessage\n\nhi\0\n\nACK\nid:a/1\n\n\0UNSUBSCRIBE\nid:1\n\n\0"
    + b"DISCONNECT\nreceipt:3\n\n\0"
)


def fuzz(server: Server, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(100):
        kind = source.randrange(5)
        if kind == 0:
            pieces = [HANDSHAKE, masked(source.choice([TEXT, BINARY]), mutated(source, SESSION))]
        elif kind == 1:
            pieces = [HANDSHAKE, mutated(source, masked(BINARY, SESSION))]
        elif kind == 2:
            pieces = [HANDSHAKE, masked(BINARY, source.randbytes(source.randint(1, 3000)))]
        elif kind == 3:
            pieces = [mutated(source, HANDSHAKE + masked(TEXT, CONNECT))]
        else:
            pieces = [mutated(source, PUSH)]
        answer = exchange(server, *pieces, wait_s=0.02, reset=source.random() < 0.3)
        assert not answer.startswith(b"HTTP/1.1 5"), (seed, pieces, answer)


async def test_random_input_harms_nobody(server: Server) -> None:
    seeds = [int.from_bytes(os.urandom(4)) for _ in range(4)]
    async with listening(server.websocket_url, "test-bystander") as bystander:
        await asyncio.gather(*(asyncio.to_thread(fuzz, server, seed) for seed in seeds))

        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post("/vh-stomp-wsend/push_all_obj/test-bystander", content="still here")
        assert b"still here" in (await bystander.expect("MESSAGE")).body


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


async def test_many_who_vanish_leave_nothing_behind(server: Server) -> None:
    open_before = open_files(server)

    def vanish(count: int) -> None:
        for number in range(count):
            exchange(server, HANDSHAKE, masked(TEXT, SESSION[: 37 * number % len(SESSION)]), reset=True)

    await asyncio.gather(*(asyncio.to_thread(vanish, 25) for _ in range(4)))

    async def are_closed() -> bool:
        return open_files(server) <= open_before + 40  # of 100; the database keeps some connections of its own

    await becomes(are_closed)


# The end


async def test_stop_in_the_middle_of_everything_is_quick_and_clean() -> None:
    with running_server() as server:
        async with (
            listening(server.websocket_url, "test1") as listener,
            stomp_client(server.websocket_url) as silent,
        ):
            with socket.create_connection(("127.0.0.1", server.port)) as half:
                half.sendall(PUSH[:-3])
                started_s = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                for client in (listener, silent):
                    assert (await client.closed())[0] == 1012
        assert await asyncio.to_thread(server.stop) == 0
        assert time.monotonic() - started_s < 5
