"""The ASGI transport with a server that blocks, disconnects, cancels and fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import app.transports.asgi as asgi
from app.disconnects import FORCED
from app.gateway.gateway import Gateway
from app.gateway.routing import AppMessage, DestinationRoutes
from app.hub.outbox import OutboxLimits
from app.transports.asgi import serve_websocket
from app.transports.opening import WebSocketOptions
from tests.gateway.conversation import Stage, settle
from tests.transports.asgi_server import Server

CONNECT = "CONNECT\naccept-version:1.2\npasscode:alice\n\n\0"


class Handlers(DestinationRoutes):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.message("/app/slow")(self.slow)
        self.running = 0

    async def slow(self, message: AppMessage) -> None:
        self.running += 1
        await self.gate.wait()


class Scene:
    def __init__(self, stage: Stage, handlers: Handlers) -> None:
        self.stage = stage
        self.handlers = handlers
        self.running: list[asyncio.Task[None]] = []

    @property
    def gateway(self) -> Gateway:
        return self.stage.gateway

    async def open(self, server: Server, **outbox: int) -> asyncio.Task[None]:
        options = WebSocketOptions(outbox=OutboxLimits(**outbox))
        task = asyncio.create_task(serve_websocket(server.websocket(), self.gateway, options))
        self.running.append(task)
        await settle()
        return task

    async def connected(self, **outbox: int) -> tuple[Server, asyncio.Task[None]]:
        server = Server()
        task = await self.open(server, **outbox)
        server.text(CONNECT)
        server.text("SUBSCRIBE\nid:s\ndestination:/user/queue/msg\n\n\0")
        await settle()
        assert len(self.stage.hub) == 1
        return server, task


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Yield a scene. Check at its end that no connection, session or task is left."""
    handlers = Handlers()
    scene = Scene(Stage(routes=handlers), handlers)
    yield scene
    async with asyncio.timeout(30):
        await asyncio.gather(*scene.running, return_exceptions=True)
    await scene.gateway.aclose()
    assert len(scene.gateway) == len(scene.stage.hub) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def done(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        await task


async def test_client_that_vanishes_before_the_handshake_leaves_no_connection(scene: Scene) -> None:
    server = Server()
    server.gone = True

    with pytest.raises(OSError, match="gone"):
        await done(await scene.open(server))


async def test_client_that_vanishes_while_a_write_waits_is_noticed(scene: Scene) -> None:
    server, task = await scene.connected()
    server.writable.clear()
    await scene.stage.push("alice")
    await settle()

    server.vanish()

    await done(task)
    assert scene.stage.acks.open_records == 0


async def test_client_that_vanishes_while_a_handler_runs_is_noticed_at_once(scene: Scene) -> None:
    server, task = await scene.connected()
    server.text("SEND\ndestination:/app/slow\n\n\0")
    await settle()
    server.vanish()

    await done(task)

    assert scene.handlers.running == 1


async def test_pause_that_follows_a_resume_at_once_holds(scene: Scene) -> None:
    server, task = await scene.connected()
    transport = next(iter(scene.stage.hub)).transport
    transport.pause_reading()
    server.text("\n")
    await settle()
    server.text("\n")

    transport.resume_reading()
    transport.pause_reading()
    await settle()
    waiting = server.waiting
    transport.resume_reading()
    await settle()

    assert (waiting, server.waiting) == (1, 0)
    server.vanish()
    await done(task)


async def test_input_after_the_end_is_read_although_a_handler_had_paused_reading(scene: Scene) -> None:
    server, task = await scene.connected()
    server.writable.clear()
    await scene.stage.push("alice")
    server.text("SEND\ndestination:/app/slow\n\n\0")
    await settle()
    scene.gateway.kick(next(iter(scene.stage.hub)).id)

    server.text("x")
    server.text("y")
    await settle()

    assert server.waiting == 0
    server.vanish()
    await done(task)


async def test_slow_reader_is_closed_and_gets_the_code_when_it_reads_again(scene: Scene) -> None:
    server, task = await scene.connected(max_frames=3)
    server.writable.clear()

    for _ in range(4):  # the server sends one, three wait
        await scene.stage.push("alice")
        await settle()
    assert len(scene.stage.hub) == 1
    await scene.stage.push("alice")

    assert len(scene.stage.hub) == 0
    await settle()
    assert not task.done()
    server.writable.set()
    await done(task)
    assert server.closes == [4008]
    assert len(server.texts) == 2  # CONNECTED and the frame that was being sent; the others were dropped


async def test_peer_that_never_reads_is_aborted_after_the_linger_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "LINGER_S", 0.05)
    server, task = await scene.connected()
    server.writable.clear()
    await scene.stage.push("alice")
    scene.gateway.kick(next(iter(scene.stage.hub)).id)
    await settle()
    assert not task.done()

    await done(task)

    assert server.closes == []


async def test_input_after_the_end_is_discarded(scene: Scene) -> None:
    server, task = await scene.connected()
    server.writable.clear()
    server.text("NONSENSE\n\n\0")
    for _ in range(100):
        server.text(CONNECT)
    await settle()
    await asyncio.sleep(0.01)
    assert server.waiting == 0

    server.writable.set()
    await done(task)

    assert [text.split("\n")[0] for text in server.texts] == ["CONNECTED", "ERROR"]
    assert server.closes == [4501]


@pytest.mark.parametrize("busy", [False, True])
async def test_cancellation_by_the_server_leaves_no_session(busy: bool, scene: Scene) -> None:
    server, task = await scene.connected()
    if busy:
        server.text("SEND\ndestination:/app/slow\n\n\0")
        server.writable.clear()
        await scene.stage.push("alice")
        await settle()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await done(task)
    scene.handlers.gate.set()
    await settle()
    assert len(scene.stage.hub) == len(scene.gateway) == 0
    server.writable.set()


async def test_exception_of_the_server_is_raised(scene: Scene) -> None:
    server, task = await scene.connected()
    server.defect = RuntimeError("what a server")
    await scene.stage.push("alice")

    with pytest.raises(RuntimeError, match="what a server"):
        await done(task)


async def test_invalid_asgi_message_of_the_server_raises(scene: Scene) -> None:
    server, task = await scene.connected()
    server._messages.put_nowait({"type": "websocket.nonsense"})

    with pytest.raises(RuntimeError, match="nonsense"):
        await done(task)


async def test_pause_after_the_close_does_not_stop_the_reader(scene: Scene) -> None:
    server, task = await scene.connected()
    (session,) = scene.stage.hub
    server.writable.clear()
    await scene.stage.push("alice")
    await settle()
    session.transport.close(FORCED)
    session.transport.pause_reading()
    await settle()

    server.text("x")
    server.text("y")
    await settle()

    assert server.waiting == 0
    server.vanish()
    await done(task)
