"""The contract of every WebSocket transport: reading, pauses, and violations of WebSocket."""

import asyncio

import pytest

from tests.eventually import eventually
from tests.frames import CLOSE, CONTINUATION, TEXT, masked
from tests.transports.scene import CONNECT, Scene, code_of


async def test_reading_pauses_while_a_handler_runs(scene: Scene) -> None:
    client = await scene.connected()
    for number in range(5):
        await client.send(f"SEND\ndestination:/app/slow\nreceipt:{number}\n\n\0")
    await eventually(lambda: scene.handlers.running)
    await asyncio.sleep(0.05)
    assert scene.handlers.running == 1

    scene.handlers.gate.set()

    assert [str(await client.recv())[-4] for _ in range(5)] == ["0", "1", "2", "3", "4"]


async def test_paused_reading_blocks_the_client(scene: Scene) -> None:
    client = await scene.raw()
    await client.send(masked(TEXT, b"SEND\ndestination:/app/slow\n\n\0"))
    await eventually(lambda: scene.handlers.running)

    client.writer.write(masked(TEXT, b"\n" * 100_000) * 200)
    await asyncio.sleep(0.3)
    transport = client.writer.transport
    assert transport.get_write_buffer_size() > 1_000_000  # the kernel takes some

    scene.handlers.gate.set()
    await eventually(lambda: not transport.get_write_buffer_size())


async def test_flood_beyond_the_rate_limit_blocks_the_client(scene: Scene) -> None:
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


async def test_input_after_the_end_is_discarded(scene: Scene) -> None:
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
async def test_websocket_violation_ends_the_session_with_its_code(frames: list[bytes], code: int, scene: Scene) -> None:
    client = await scene.raw()
    await client.send(*frames)
    while (answer := await client.receive())[0] != CLOSE:
        pass
    assert int.from_bytes(answer[1][:2], "big") == code
    client.writer.transport.abort()
    await eventually(lambda: not scene.stage.hub)
