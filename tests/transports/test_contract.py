"""The contract of every WebSocket transport: the life of a session, and shutdown."""

import asyncio
import gc
import struct
import time
from contextlib import AsyncExitStack
from socket import SO_LINGER, SOL_SOCKET

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from app.disconnects import FORCED, GONE, NORMAL
from app.gateway.connection import Connection
from app.http.protocol import HttpProtocol
from app.hub.outbox import OutboxLimits
from app.hub.session import Session
from app.picows.engine import Reader
from app.picows.protocol import PicowsProtocol
from app.picows.socket import PicowsSocket
from app.stomp.session import ServerSession
from app.transports.asgi import AsgiTransport
from app.transports.picows import PicowsTransport
from tests.eventually import eventually
from tests.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, masked, raw_client
from tests.gateway.conversation import settle
from tests.transports.scene import CONNECT, KILOBYTES_100, SUBSCRIBE, Scene, code_of, open_scene
from tests.transports.serving import serving

# The life of a session


async def test_session_from_handshake_to_disconnect(scene: Scene) -> None:
    client = await scene.connected()
    assert client.subprotocol == "v12.stomp"

    await scene.stage.push("alice", "grüße")
    await client.send(b"SEND\ndestination:/app/sendMessage\nreceipt:1\n\nx\0")
    await client.send("DISCONNECT\nreceipt:bye\n\n\0")

    texts = [str(await client.recv()) for _ in range(3)]
    assert [text.split("\n")[0] for text in texts] == ["MESSAGE", "RECEIPT", "RECEIPT"]
    assert "grüße" in texts[0]
    assert await code_of(client) == (1000, "bye")


async def test_body_that_is_not_utf8_is_sent_in_a_binary_message(scene: Scene) -> None:
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


async def test_frames_arrive_in_the_order_of_sending(scene: Scene) -> None:
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

    await eventually(lambda: len(scene.stage.gateway) == 0)
    assert set(scene.stage.disconnects) <= {GONE}  # none, if there was no session yet


@pytest.mark.parametrize("how", ["disconnects", "closes", "vanishes"])
async def test_ended_connection_leaves_no_reference_cycles(how: str, scene: Scene) -> None:
    gc.collect()
    gc.disable()
    before = alive()  # perhaps from other tests
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


async def test_frames_sent_together_with_the_close_frame_are_handled(scene: Scene) -> None:
    client = await scene.raw()

    await client.send(masked(TEXT, b"SEND\ndestination:/app/slow\n\n\0") + masked(CLOSE, b"\x03\xe8"))

    assert (await client.receive())[0] == CLOSE
    await eventually(lambda: scene.handlers.running == 1)
    scene.handlers.gate.set()
    await eventually(lambda: scene.gone_for(GONE))
    assert scene.handlers.running == 0


async def test_close_code_of_the_client_is_echoed(scene: Scene) -> None:
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
async def test_any_byte_of_the_client_counts_as_a_response_to_a_ping(answer: bytes, scene: Scene) -> None:
    client = await scene.raw()
    transport = scene.session.transport
    assert not transport.is_asked
    if scene.transport == "asgi":  # ASGI has no pings
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


async def test_client_is_not_pinged_while_reading_is_paused(scene: Scene) -> None:
    client = await scene.raw()
    transport = scene.session.transport
    transport.pause_reading()
    assert not transport.ask()
    assert not transport.is_asked
    transport.resume_reading()
    scene.session.end(FORCED)
    assert not transport.ask()
    assert await client.closed() == FORCED.code


async def test_foreign_origin_is_refused_before_a_connection_is_made(scene: Scene) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(scene.url, origin=Origin("https://evil.example"))

    assert not scene.stage.disconnects


async def test_first_of_two_closes_counts(scene: Scene) -> None:
    client = await scene.connected()
    transport = scene.session.transport

    transport.close(FORCED)
    transport.close(NORMAL)
    transport.send(b"late\0")
    transport.pause_reading()
    transport.resume_reading()

    assert await code_of(client) == (4503, "closed by an operator")


async def test_close_frame_follows_frames_sent_before(scene: Scene) -> None:
    client = await scene.connected()
    for number in range(50):
        scene.session.send(f"{number}".encode())
    scene.stage.gateway.kick(scene.session.id)

    assert [await client.recv() for _ in range(50)] == [f"{number}" for number in range(50)]
    assert (await code_of(client))[0] == 4503


# The end of the server


@pytest.mark.parametrize("transport", ["picows", "asgi"])
async def test_restart_code_follows_frames_sent_before(transport: str) -> None:
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


async def test_peer_that_never_reads_does_not_delay_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_unexpected_exception_closes_the_connection_and_is_logged(
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
