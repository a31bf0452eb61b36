"""What a STOMP session may expect of its transport: a real server and real clients, on each WebSocket transport."""

import asyncio
import gc
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from socket import SO_LINGER, SOL_SOCKET

import pytest
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

import app.transports.asgi as asgi
import app.transports.picows as picows
from app.disconnects import FORCED, GONE, NORMAL, SLOW_CONSUMER
from app.gateway.connection import Connection
from app.gateway.routing import AppMessage, DestinationRoutes
from app.http.protocol import HttpProtocol
from app.hub.outbox import OutboxLimits
from app.hub.session import Session
from app.picows.engine import Reader
from app.picows.protocol import PicowsProtocol
from app.picows.socket import PicowsSocket
from app.stomp.session import ServerSession
from app.transports.asgi import AsgiTransport
from app.transports.picows import PicowsTransport
from app.transports.websocket import WebSocketOptions
from app.transports.websockets import WebSockets
from tests.eventually import eventually
from tests.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, masked, raw_client
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
    """A gateway on a real server, served as the route serves it."""

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
        return not self.stage.hub and self.stage.gateway.disconnects.keys() == {reason}

    async def connected(self) -> ClientConnection:
        client = await self._stack.enter_async_context(connect(self.url, subprotocols=OFFERED))
        await client.send(CONNECT)
        assert str(await client.recv()).startswith("CONNECTED")
        await client.send(SUBSCRIBE)
        assert str(await client.recv()).startswith("RECEIPT")
        return client

    async def raw(self) -> RawClient:
        """Connected, and what it was sent has been read."""
        client = await self._stack.enter_async_context(raw_client(self.port))
        await client.send(masked(TEXT, CONNECT.encode()))
        assert (await client.receive())[1].startswith(b"CONNECTED")
        return client

    async def fill(self) -> RawClient:
        """A session whose peer has stopped reading, so that the next frames wait in the outbox."""
        client = await self.raw()
        client.pause()
        session = self.session
        for _ in range(1000):
            if not session.transport.has_room:
                return client
            session.send(KILOBYTES_100)
            await asyncio.sleep(0)
        raise AssertionError("all was taken")


OFFERED = [Subprotocol("v10.stomp"), Subprotocol("chat"), Subprotocol("v12.stomp")]


@asynccontextmanager
async def open_scene(transport: str) -> AsyncIterator[Scene]:
    """At the end nothing may be left: no connection, no session, no task."""
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


@pytest.fixture(params=["picows", "asgi"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_scene(request.param) as scene:
        yield scene


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience with who does not read."""
    for module in (asgi, picows):
        monkeypatch.setattr(module, "LINGER_S", 0.2)
    monkeypatch.setattr(picows, "SLOW_S", 0.2)


async def code_of(client: ClientConnection) -> tuple[int | None, str | None]:
    with suppress(ConnectionClosed):
        async with asyncio.timeout(30):
            while True:
                await client.recv()
    return client.close_code, client.close_reason


# The life of a session


async def test_conversation_from_handshake_to_good_bye(scene: Scene) -> None:
    client = await scene.connected()
    assert client.subprotocol == "v12.stomp"

    await scene.stage.push("alice", "grüße")
    await client.send(b"SEND\ndestination:/app/sendMessage\nreceipt:1\n\nx\0")
    await client.send("DISCONNECT\nreceipt:bye\n\n\0")

    texts = [str(await client.recv()) for _ in range(3)]
    assert [text.split("\n")[0] for text in texts] == ["MESSAGE", "RECEIPT", "RECEIPT"]
    assert "grüße" in texts[0]
    assert await code_of(client) == (1000, "bye")


async def test_body_that_is_not_utf8_goes_out_as_octets(scene: Scene) -> None:
    client = await scene.connected()
    await client.send("SUBSCRIBE\nid:t\ndestination:/topic/a\n\n\0")
    await client.send(b"SEND\ndestination:/topic/a\n\n\xff\0")

    data = await client.recv()
    assert isinstance(data, bytes)
    assert data.endswith(b"\xff\0")


async def test_frame_may_be_cut_over_messages_and_fragments(scene: Scene) -> None:
    client = await scene._stack.enter_async_context(raw_client(scene.port))
    data = CONNECT.encode()

    await client.send(masked(TEXT, data[:10]), masked(TEXT, data[10:15], fin=False), masked(CONTINUATION, data[15:]))

    assert (await client.receive())[1].startswith(b"CONNECTED")


async def test_frames_leave_in_the_order_in_which_they_were_sent(scene: Scene) -> None:
    scene.outbox = OutboxLimits(max_bytes=10_000_000)
    client = await scene.connected()
    sent = [f"{number} ".encode() + b"x" * (9000 if number % 3 == 0 else 50) for number in range(500)]

    for data in sent:
        scene.session.send(data)

    assert [await client.recv() for _ in sent] == [data.decode() for data in sent]


@pytest.mark.parametrize("frames", [0, 1, 2])
async def test_client_may_vanish_at_any_step(frames: int, scene: Scene) -> None:
    async with raw_client(scene.port) as client:
        await client.send(*(masked(TEXT, text.encode()) for text in (CONNECT, SUBSCRIBE)[:frames]))
        await eventually(lambda: len(scene.stage.gateway) == 1)
        client.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    await eventually(lambda: scene.gone_for(GONE))


@pytest.mark.parametrize("how", ["disconnects", "closes", "vanishes"])
async def test_connection_that_has_ended_leaves_nothing_to_the_collector(how: str, scene: Scene) -> None:
    gc.collect()
    gc.disable()
    before = alive()  # of other tests, perhaps
    try:
        async with raw_client(scene.port) as client:
            await client.send(*(masked(TEXT, text.encode()) for text in (CONNECT, SUBSCRIBE)))
            await eventually(lambda: len(scene.stage.hub) == 1)
            if how == "disconnects":
                await client.send(masked(TEXT, b"DISCONNECT\n\n\0"))
            elif how == "closes":
                await client.send(masked(CLOSE, b"\x03\xe8"))
            else:
                client.writer.transport.abort()
            await eventually(lambda: not scene.stage.gateway)
        await eventually(lambda: not alive() - before)
    finally:
        gc.enable()


def alive() -> set[int]:
    kinds = (HttpProtocol, Connection, Session, AsgiTransport, PicowsTransport, PicowsSocket, PicowsProtocol, Reader)
    return {id(one) for one in gc.get_objects() if isinstance(one, kinds)}


async def test_what_was_sent_together_with_the_close_frame_is_done(scene: Scene) -> None:
    client = await scene.raw()

    await client.send(masked(TEXT, b"SEND\ndestination:/app/slow\n\n\0") + masked(CLOSE, b"\x03\xe8"))

    assert (await client.receive())[0] == CLOSE
    await eventually(lambda: scene.handlers.running == 1)
    scene.handlers.gate.set()
    await eventually(lambda: scene.gone_for(GONE))
    assert scene.handlers.running == 0


async def test_client_that_closes_gets_its_code_back(scene: Scene) -> None:
    client = await scene.raw()

    await client.send(masked(CLOSE, b"\x0f\xa1why"))

    assert (await client.receive())[1][:2] == b"\x0f\xa1"
    assert await client.reader.read() == b""
    await eventually(lambda: scene.gone_for(GONE))


async def test_ping_is_answered(scene: Scene) -> None:
    client = await scene.raw()
    await client.send(masked(PING, b"there?"))
    assert await client.receive() == (PONG, b"there?")


@pytest.mark.parametrize("answer", [masked(PONG, b""), masked(TEXT, b"\n"), masked(TEXT, b"SEND")[:7]])
async def test_client_that_can_be_asked_for_a_sign_of_life_gives_it_with_any_byte(answer: bytes, scene: Scene) -> None:
    client = await scene.raw()
    transport = scene.session.transport
    assert not transport.is_asked
    if scene.transport == "asgi":  # which has no word for it
        assert not transport.ask()
        assert not transport.is_asked
        return
    for byte in answer:
        assert transport.ask()
        assert await client.receive() == (PING, b"")
        await settle()
        assert transport.is_asked
        await client.send(bytes([byte]))
        await eventually(lambda: not transport.is_asked)


async def test_client_is_not_asked_while_nobody_would_hear_it(scene: Scene) -> None:
    client = await scene.raw()
    transport = scene.session.transport
    transport.pause_reading()
    assert not transport.ask()
    assert not transport.is_asked
    transport.resume_reading()
    scene.session.end(FORCED)
    assert not transport.ask()
    assert await client.closed() == FORCED.code


async def test_foreign_origin_is_refused_before_anything_is_made(scene: Scene) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(scene.url, origin=Origin("https://evil.example"))

    assert not scene.stage.gateway.disconnects


async def test_first_of_two_closes_counts(scene: Scene) -> None:
    client = await scene.connected()
    transport = scene.session.transport

    transport.close(FORCED)
    transport.close(NORMAL)
    transport.send(b"late\0")
    transport.pause_reading()
    transport.resume_reading()

    assert await code_of(client) == (4503, "closed by an operator")


async def test_close_comes_after_what_was_sent(scene: Scene) -> None:
    client = await scene.connected()
    for number in range(50):
        scene.session.send(f"{number}".encode())
    scene.stage.gateway.kick(scene.session.id)

    assert [await client.recv() for _ in range(50)] == [f"{number}" for number in range(50)]
    assert (await code_of(client))[0] == 4503


# Reading


async def test_reading_pauses_while_a_handler_runs_and_goes_on_after_it(scene: Scene) -> None:
    client = await scene.connected()
    for number in range(5):
        await client.send(f"SEND\ndestination:/app/slow\nreceipt:{number}\n\n\0")
    await eventually(lambda: scene.handlers.running)
    await asyncio.sleep(0.05)
    assert scene.handlers.running == 1

    scene.handlers.gate.set()

    assert [str(await client.recv())[-4] for _ in range(5)] == ["0", "1", "2", "3", "4"]


async def test_pause_reaches_the_client(scene: Scene) -> None:
    client = await scene.raw()
    await client.send(masked(TEXT, b"SEND\ndestination:/app/slow\n\n\0"))
    await eventually(lambda: scene.handlers.running)

    client.writer.write(masked(TEXT, b"\n" * 100_000) * 200)
    await asyncio.sleep(0.3)
    transport = client.writer.transport
    assert transport.get_write_buffer_size() > 1_000_000  # the kernel takes some

    scene.handlers.gate.set()
    await eventually(lambda: not transport.get_write_buffer_size())


async def test_flood_beyond_the_rate_waits_in_the_client(scene: Scene) -> None:
    client = await scene.raw()
    (connection,) = scene.stage.gateway
    frame = masked(TEXT, b"SEND\ndestination:/app/ack\n\nx\0")

    client.writer.write(frame * 500_000)
    await eventually(lambda: connection.is_held)
    transport = client.writer.transport
    for _ in range(3):
        scene.stage.clock.advance(1)
        scene.stage.gateway.let_through([connection])
        await eventually(lambda: connection.is_held)
        assert connection._stomp.buffered < 300_000
    assert transport.get_write_buffer_size() > 1_000_000  # of 19 MB; the kernel takes some

    scene.stage.gateway.kick(scene.session.id)
    transport.abort()


async def test_session_that_is_ended_while_a_handler_runs_ends_at_once(scene: Scene) -> None:
    client = await scene.connected()
    await client.send("SEND\ndestination:/app/slow\n\n\0")
    await eventually(lambda: scene.handlers.running)

    scene.stage.gateway.kick(scene.session.id)

    assert (await code_of(client))[0] == 4503


async def test_flood_after_the_end_is_read_and_forgotten(scene: Scene) -> None:
    client = await scene.raw()
    await client.send(masked(TEXT, b"NONSENSE\n\n\0"), masked(TEXT, CONNECT.encode()) * 10_000)

    assert (await client.receive())[1].startswith(b"ERROR")
    assert await client.closed() == 4501


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([masked(TEXT, b"a" * 600_000)], 1009),
        ([masked(TEXT, b"\n" * 300_000, fin=False), masked(CONTINUATION, b"\n" * 300_000)], 1009),
        ([masked(TEXT, b"\xff")], 1007),
        ([masked(TEXT, b"\n\xc3", fin=False), masked(CONTINUATION, b"(")], 1007),
        ([masked(TEXT, b"\n", rsv=4)], 1002),
        ([masked(CONTINUATION, b"\n")], 1002),
        ([masked(TEXT, b"\n", fin=False), masked(TEXT, b"\n")], 1002),
        ([masked(3, b"")], 1002),
        ([masked(CLOSE, b"\0\1")], 1002),
    ],
)
async def test_broken_websocket_ends_the_session_with_the_code_for_it(
    frames: list[bytes], code: int, scene: Scene
) -> None:
    client = await scene.raw()
    await client.send(*frames)
    while (answer := await client.receive())[0] != CLOSE:
        pass
    assert int.from_bytes(answer[1][:2], "big") == code
    client.writer.transport.abort()
    await eventually(lambda: not scene.stage.hub)


# Writing to who does not read


async def test_slow_reader_is_cut_off(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    scene.outbox = OutboxLimits(max_frames=3)
    client = await scene.fill()
    session = scene.session

    for _ in range(3):
        session.send(KILOBYTES_100)

    assert scene.gone_for(SLOW_CONSUMER)
    client.resume()
    assert await client.closed() == 4008


async def test_bytes_that_wait_are_bounded_too(scene: Scene) -> None:
    scene.outbox = OutboxLimits(max_bytes=250_000)
    await scene.fill()
    session = scene.session

    for _ in range(3):
        session.send(KILOBYTES_100)

    assert scene.gone_for(SLOW_CONSUMER)


async def test_room_in_the_outbox_is_told_to_who_waits_for_it(scene: Scene) -> None:
    client = await scene.fill()
    waiter = asyncio.create_task(scene.session.transport.writable())
    await asyncio.sleep(0.02)
    assert not waiter.done()

    client.resume()
    reading = asyncio.create_task(client.reader.read(-1))

    await asyncio.wait_for(waiter, 30)
    assert scene.session.transport.has_room
    reading.cancel()


@pytest.mark.parametrize("vanishes", [True, False])
async def test_waiter_for_room_is_let_go_at_the_end(vanishes: bool, scene: Scene) -> None:
    client = await scene.fill()
    waiter = asyncio.create_task(scene.session.transport.writable())
    await settle()
    assert not waiter.done()

    if vanishes:
        client.writer.transport.abort()
    else:
        scene.stage.gateway.kick(scene.session.id)

    await asyncio.wait_for(waiter, 30)


async def test_what_waits_arrives_before_the_close_frame(scene: Scene) -> None:
    client = await scene.fill()
    sent = scene.session.transport
    sent.send(b"the last")
    scene.stage.gateway.kick(scene.session.id)

    client.resume()

    data = [b""]
    while (answer := await client.receive())[0] != CLOSE:
        data.append(answer[1])
    assert data[-1] == b"the last"
    assert answer[1][:2] == struct.pack("!H", 4503)


async def test_peer_that_never_reads_is_given_up_in_the_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    await scene.fill()

    scene.stage.gateway.kick(scene.session.id)

    await eventually(lambda: not scene.stage.gateway._transports)


# The end of the server


@pytest.mark.parametrize("transport", ["picows", "asgi"])
async def test_restart_is_told_after_what_was_sent_before(transport: str) -> None:
    async with open_scene(transport) as scene:
        scene.outbox = OutboxLimits(max_bytes=10_000_000)
        client = await scene.connected()
        for number in range(20):
            scene.session.send(b"%d" % number + KILOBYTES_100)
        draining = asyncio.create_task(scene.stage.gateway.drain())

        for number in range(20):
            assert str(await client.recv()).startswith(f"{number}x")
        assert await code_of(client) == (1012, "service restart")
        await draining
        late = await scene._stack.enter_async_context(connect(scene.url))
        assert (await code_of(late))[0] == 1012


async def test_peer_that_never_reads_does_not_delay_the_end_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.gateway.DRAIN_S", 0.2)
    monkeypatch.setattr("app.picows.protocol.SHUTDOWN_S", 0.2)
    scene = Scene("picows", AsyncExitStack())
    async with scene._stack:
        async with serving(scene, "picows") as scene.port:
            await scene.fill()
            started_s = time.monotonic()
            await scene.stage.gateway.drain()
        assert time.monotonic() - started_s < 2
        await scene.stage.gateway.aclose()


async def test_defect_ends_the_connection_and_comes_to_light(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(session: object, data: bytes) -> None:
        raise RuntimeError("what a defect")

    async with open_scene("picows") as scene:
        client = await scene.raw()
        monkeypatch.setattr(ServerSession, "plain_send", defect)
        await client.send(masked(TEXT, b"SEND\n"))

        assert await client.closed() == 1011
    assert "what a defect" in caplog.text
