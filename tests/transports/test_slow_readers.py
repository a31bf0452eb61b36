"""The contract of every WebSocket transport: clients that do not read."""

import asyncio
import struct

import pytest

import app.transports.asgi as asgi
import app.transports.picows as picows
from app.disconnects import SLOW_CONSUMER
from app.hub.outbox import OutboxLimits
from tests.eventually import eventually
from tests.frames import CLOSE
from tests.gateway.conversation import settle
from tests.transports.scene import KILOBYTES_100, Scene


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts for clients that do not read."""
    for module in (asgi, picows):
        monkeypatch.setattr(module, "LINGER_S", 0.2)
    monkeypatch.setattr(picows, "SLOW_S", 0.2)


async def test_slow_reader_is_closed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    scene.outbox = OutboxLimits(max_frames=3)
    client = await scene.fill()
    session = scene.session

    for _ in range(3):
        session.send(KILOBYTES_100)

    assert scene.gone_for(SLOW_CONSUMER)
    client.resume()
    assert await client.closed() == 4008


async def test_bytes_in_the_outbox_are_limited(scene: Scene) -> None:
    scene.outbox = OutboxLimits(max_bytes=250_000)
    await scene.fill()
    session = scene.session

    for _ in range(3):
        session.send(KILOBYTES_100)

    assert scene.gone_for(SLOW_CONSUMER)


async def test_writable_returns_once_the_outbox_has_room(scene: Scene) -> None:
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
async def test_writable_returns_at_the_end_of_the_connection(vanishes: bool, scene: Scene) -> None:
    client = await scene.fill()
    waiter = asyncio.create_task(scene.session.transport.writable())
    await settle()
    assert not waiter.done()

    if vanishes:
        client.writer.transport.abort()
    else:
        scene.stage.gateway.kick(scene.session.id)

    await asyncio.wait_for(waiter, 30)


async def test_frames_in_the_outbox_arrive_before_the_close_frame(scene: Scene) -> None:
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


async def test_peer_that_never_reads_is_aborted_after_the_linger_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    await scene.fill()

    scene.stage.gateway.kick(scene.session.id)

    await eventually(lambda: not scene.stage.gateway._transports)
