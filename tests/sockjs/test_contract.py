"""What a STOMP session may expect of its transport, for SockJS: a real server, real requests, each transport."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from app.api.sockjs import sockjs_router
from app.disconnects import FORCED, GONE, NORMAL, SLOW_CONSUMER, TOO_BIG
from app.gateway.routing import AppMessage, DestinationRoutes
from app.hub.outbox import OutboxLimits
from app.hub.session import Session
from app.sockjs.endpoint import SockJs
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.buffer import Timing
from app.sockjs.protocol.paths import Action
from app.sockjs.protocol.receivers import RECEIVERS
from app.sockjs.session import MAX_WAITING_SENDS
from app.timing.clock import SystemClock
from app.transports.opening import WebSocketOptions
from app.transports.stomp_text import frame_as_text
from tests.client import StompClient
from tests.eventually import eventually
from tests.gateway.conversation import Stage, settle
from tests.nodes import running
from tests.sockjs_app import always
from tests.sockjs_client import RECEIVING, TRANSPORTS, stomp_over_sockjs
from tests.transports.raw_http import Base, Exchange
from tests.transports.serving import serving

CONNECT = json.dumps(["CONNECT\naccept-version:1.2\npasscode:alice\n\n\0"])
KILOBYTES_100 = b"x" * 100_000
ENDLESS = 10**9
STREAMS = ("xhr-streaming", "eventsource", "htmlfile")


class Handlers(DestinationRoutes):
    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.running = 0
        self.message("/app/slow")(self.slow)

    async def slow(self, message: AppMessage) -> None:
        self.running += 1
        await self.gate.wait()


class Scene:
    """A gateway behind SockJS on a real server."""

    def __init__(self, transport: str, stack: AsyncExitStack, options: SockJsOptions) -> None:
        self.handlers = Handlers()
        self.stage = Stage(routes=self.handlers, inbox=10_000)
        self.sockjs = SockJs(self.stage.gateway, options, clock=SystemClock())
        self.transport = transport
        self.port = 0
        self._stack = stack

    @property
    def app(self) -> FastAPI:
        app = FastAPI()
        app.include_router(sockjs_router(always(self.sockjs)), prefix="/stomp-ws")
        return app

    @property
    def base(self) -> Base:
        return Base(self.port, "/stomp-ws")

    @property
    def session(self) -> Session:
        (session,) = self.stage.hub
        return session

    def gone_for(self, reason: object) -> bool:
        return not self.stage.hub and set(self.stage.disconnects) == {reason}

    async def connected(self) -> StompClient:
        client = await self._stack.enter_async_context(stomp_over_sockjs(self.port, self.transport))
        await client.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
        await client.expect("CONNECTED")
        await client.subscribe()
        return client

    async def stalled(self) -> Exchange:
        """A streaming response whose client does not read, so that what is sent waits."""
        exchange = await self._stack.enter_async_context(Exchange(self.port))
        method, path = RECEIVING[self.transport]
        await exchange.send(method, f"/stomp-ws/0/stalled/{path}")
        await exchange.head()
        await exchange.chunk()
        await exchange.chunk()
        exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of the socket
        assert (await self.base.post("/0/stalled/xhr_send", CONNECT)).status == 204
        await eventually(lambda: self.stage.hub)
        session = self.session
        for _ in range(1000):
            if not session.transport.has_room:
                return exchange
            session.send(KILOBYTES_100)
            await asyncio.sleep(0)
        raise AssertionError("all was taken")


@asynccontextmanager
async def open_scene(transport: str, outbox: OutboxLimits | None = None, **changes: Any) -> AsyncIterator[Scene]:
    """At the end nothing may be left: no connection, no session, no task."""
    websockets = WebSocketOptions(outbox=outbox or OutboxLimits())
    timing = Timing(heartbeat_s=25, disconnect_delay_s=0.4)
    fields: dict[str, Any] = {"timing": timing, "websockets": websockets, "as_text": frame_as_text, "is_stream": True}
    options = SockJsOptions(**fields | changes)
    async with AsyncExitStack() as stack:
        scene = Scene(transport, stack, options)
        async with serving(scene.app) as scene.port, running(scene.sockjs.run):
            yield scene
            await stack.aclose()
            scene.handlers.gate.set()
            await eventually(lambda: not scene.stage.hub and not scene.stage.gateway._transports)
            await eventually(lambda: not len(scene.sockjs) and not len(scene.sockjs.framed))
        await scene.stage.gateway.aclose()
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(params=TRANSPORTS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_scene(request.param) as scene:
        yield scene


async def test_only_a_websocket_can_be_asked_for_a_sign_of_life(scene: Scene) -> None:
    await scene.connected()
    transport = scene.session.transport
    assert transport.ask() == (scene.transport == "websocket")
    assert transport.is_asked == (scene.transport == "websocket")
    await eventually(lambda: not transport.is_asked)


async def texts(client: StompClient, count: int) -> Sequence[str]:
    return [str(await client.websocket.recv()) for _ in range(count)]


# The life of a session


async def test_conversation_from_open_to_good_bye(scene: Scene) -> None:
    client = await scene.connected()
    assert scene.session.transport.name == scene.transport
    assert str(scene.session.transport.remote).startswith("127.0.0.1:")

    await scene.stage.push("alice", "grüße")
    await client.send("SEND", {"destination": "/app/sendMessage", "receipt": "1"}, "x")
    await client.send("DISCONNECT", {"receipt": "bye"})

    frames = [await client.receive() for _ in range(3)]
    assert [frame.command for frame in frames] == ["MESSAGE", "RECEIPT", "RECEIPT"]
    assert "grüße" in frames[0].body.decode()
    assert await client.closed() == (1000, "bye")
    assert scene.gone_for(NORMAL)


async def test_frames_leave_in_the_order_in_which_they_were_sent(scene: Scene) -> None:
    client = await scene.connected()
    sent = [f"{number} " + "x" * (9000 if number % 3 == 0 else 50) for number in range(250)]

    for text in sent:
        scene.session.send(text.encode())

    assert await texts(client, len(sent)) == sent


async def test_first_of_two_closes_counts(scene: Scene) -> None:
    client = await scene.connected()
    transport = scene.session.transport

    transport.close(FORCED)
    transport.close(NORMAL)
    transport.send(b"late\0")
    transport.pause_reading()
    transport.resume_reading()

    assert await client.closed() == (4503, "closed by an operator")


async def test_close_comes_after_what_was_sent(scene: Scene) -> None:
    client = await scene.connected()
    for number in range(50):
        scene.session.send(f"{number}".encode())
    scene.stage.gateway.kick(scene.session.id)

    assert await texts(client, 50) == [f"{number}" for number in range(50)]
    assert (await client.closed())[0] == 4503


async def test_client_that_vanishes_is_gone(scene: Scene) -> None:
    await scene.connected()

    await scene._stack.aclose()

    await eventually(lambda: scene.gone_for(GONE))


async def test_restart_is_told_after_what_was_sent_before(scene: Scene) -> None:
    client = await scene.connected()
    scene.session.send(b"the last")
    draining = asyncio.create_task(scene.stage.gateway.drain())

    assert await texts(client, 1) == ["the last"]
    assert (await client.closed())[0] == 1012
    await asyncio.wait_for(draining, 30)


async def test_who_comes_while_the_server_ends_is_sent_elsewhere(scene: Scene) -> None:
    await scene.stage.gateway.drain()
    async with stomp_over_sockjs(scene.port, scene.transport) as client:
        assert (await client.closed())[0] == 1012


# Reading


async def test_reading_pauses_while_a_handler_runs_and_goes_on_after_it(scene: Scene) -> None:
    client = await scene.connected()
    sending = [
        asyncio.create_task(client.send("SEND", {"destination": "/app/slow", "receipt": str(number)}))
        for number in range(5)
    ]
    await eventually(lambda: scene.handlers.running)
    await asyncio.sleep(0.05)
    assert scene.handlers.running == 1

    scene.handlers.gate.set()

    assert [(await client.expect("RECEIPT")).headers["receipt-id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    await asyncio.gather(*sending)


async def test_session_that_is_ended_while_a_handler_runs_ends_at_once(scene: Scene) -> None:
    client = await scene.connected()
    await client.send("SEND", {"destination": "/app/slow"})
    await eventually(lambda: scene.handlers.running)

    scene.stage.gateway.kick(scene.session.id)

    assert (await client.closed())[0] == 4503


# Silence


@pytest.mark.parametrize("transport", RECEIVING)
async def test_silence_is_broken_in_time(transport: str) -> None:
    async with open_scene(transport, timing=Timing(heartbeat_s=0.2, disconnect_delay_s=0.4)) as scene:
        method, path = RECEIVING[transport]
        async with Exchange(scene.port) as exchange:
            if transport in STREAMS:
                await exchange.send(method, f"/stomp-ws/0/silent/{path}")
                await exchange.head()
                *_, last = [await exchange.chunk() for _ in ("prelude", "open", "heart-beat")]
            else:
                _, reply = [
                    await exchange.request(method, f"/stomp-ws/0/silent/{path}") for _ in ("open", "heart-beat")
                ]
                last = reply.body
        assert last == RECEIVERS[Action(path.partition("?")[0])].wrap(b"h", "cb")


async def test_websocket_is_not_silent_for_long() -> None:
    async with open_scene("websocket", timing=Timing(heartbeat_s=0.3, disconnect_delay_s=4)) as scene:
        client = await scene.connected()
        frames = [await client.websocket._websocket.recv() for _ in range(2)]  # type: ignore[attr-defined]
        assert frames == ["h", "h"]


# Writing to who does not read


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("outbox", [OutboxLimits(max_frames=3), OutboxLimits(max_bytes=250_000)])
async def test_slow_reader_is_cut_off(transport: str, outbox: OutboxLimits) -> None:
    async with open_scene(transport, outbox, response_limit=ENDLESS) as scene:
        await scene.stalled()
        session = scene.session

        for _ in range(4):
            session.send(KILOBYTES_100)

        assert scene.gone_for(SLOW_CONSUMER)


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
async def test_client_that_polls_too_seldom_is_cut_off(transport: str) -> None:
    async with open_scene(transport, OutboxLimits(max_frames=10)) as scene:
        method, path = RECEIVING[transport]
        assert b"o" in (await scene.base.request(method, f"/0/seldom/{path}")).body
        await scene.base.post("/0/seldom/xhr_send", CONNECT)
        session = scene.session

        for _ in range(12):
            session.send(b"x")

        assert scene.gone_for(SLOW_CONSUMER)
        assert b"c[4008," in (await scene.base.request(method, f"/0/seldom/{path}")).body


@pytest.mark.parametrize("transport", STREAMS)
async def test_room_is_told_to_who_waits_for_it(transport: str) -> None:
    async with open_scene(transport, response_limit=ENDLESS) as scene:
        exchange = await scene.stalled()
        waiter = asyncio.create_task(scene.session.transport.writable())
        await asyncio.sleep(0.02)
        assert not waiter.done()

        exchange.writer.transport.resume_reading()  # type: ignore[attr-defined]
        reading = asyncio.create_task(exchange.reader.read(-1))

        await asyncio.wait_for(waiter, 30)
        assert scene.session.transport.has_room
        reading.cancel()


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("vanishes", [True, False])
async def test_waiter_for_room_is_let_go_at_the_end(transport: str, vanishes: bool) -> None:
    async with open_scene(transport, response_limit=ENDLESS) as scene:
        exchange = await scene.stalled()
        waiter = asyncio.create_task(scene.session.transport.writable())
        await settle()
        assert not waiter.done()

        if vanishes:
            exchange.writer.transport.abort()
        else:
            scene.stage.gateway.kick(scene.session.id)

        await asyncio.wait_for(waiter, 30)
        assert scene.gone_for(GONE if vanishes else FORCED)


# What nobody comes back for


async def test_body_over_the_limit_ends_the_session() -> None:
    async with open_scene("xhr-polling", max_body_bytes=1000) as scene:
        assert (await scene.base.post("/0/large/xhr")).body == b"o\n"
        assert (await scene.base.post("/0/large/xhr_send", CONNECT)).status == 204
        await eventually(lambda: scene.stage.hub)

        reply = await scene.base.post("/0/large/xhr_send", json.dumps(["x" * 1000]))

        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert scene.gone_for(TOO_BIG)
        assert (await scene.base.post("/0/nobody/xhr_send", json.dumps(["x" * 1000]))).status == 413


async def test_sessions_over_http_are_counted() -> None:
    async with open_scene("xhr-polling", max_sessions=2) as scene:
        replies = [await scene.base.post(f"/0/s{number}/xhr") for number in range(3)]

        assert [reply.status for reply in replies] == [200, 200, 503]
        assert replies[2].headers["retry-after"] == "1"
        await eventually(lambda: not len(scene.sockjs))
        assert (await scene.base.post("/0/s3/xhr")).status == 200


async def test_thousands_that_open_and_never_come_back_are_forgotten() -> None:
    async with open_scene("xhr-polling") as scene:
        async with Exchange(scene.port) as exchange:
            for number in range(2000):
                await exchange.send("POST", f"/stomp-ws/0/stale{number}/xhr")
                reply = await exchange.head()
                assert await exchange.exactly(int(reply.headers["content-length"])) == b"o\n"
        assert len(scene.sockjs)

        await eventually(lambda: not len(scene.sockjs))

        assert not scene.stage.gateway._transports


async def test_requests_that_wait_for_a_session_to_take_more_are_counted() -> None:
    async with open_scene("xhr-polling") as scene:
        await scene.base.post("/0/flood/xhr")
        await scene.base.post("/0/flood/xhr_send", CONNECT)
        slow = json.dumps(["SEND\ndestination:/app/slow\n\n\0"])
        for _ in range(2):  # one is worked on, one waits in the session
            assert (await scene.base.post("/0/flood/xhr_send", slow)).status == 204
        sends = [asyncio.create_task(scene.base.post("/0/flood/xhr_send", slow)) for _ in range(MAX_WAITING_SENDS + 1)]

        (refused,), waiting = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)

        reply = refused.result()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        scene.handlers.gate.set()
        assert {(await one).status for one in waiting} == {204}


# What SockJS cannot carry


async def test_character_that_a_client_cuts_in_two_arrives_whole(scene: Scene) -> None:
    client = await scene.connected()
    await client.subscribe("/topic/cut", "cut")

    await client.websocket.send("SEND\ndestination:/topic/cut\ncontent-length:6\n\na\ud83d")
    await client.websocket.send("\ude00b\0")

    assert (await client.expect("MESSAGE")).body == "a😀b".encode()


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
async def test_body_that_is_not_utf8_is_made_text_and_its_length_is_right(transport: str) -> None:
    async with open_scene(transport) as scene:
        client = await scene.connected()
        scene.session.send(b"MESSAGE\ncontent-length:3\nmessage-id:1\n\na\xff\0\0", binary=True)

        assert await texts(client, 1) == ["MESSAGE\ncontent-length:5\nmessage-id:1\n\na\ufffd\0\0"]
