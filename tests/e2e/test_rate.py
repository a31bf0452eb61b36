"""A client that sends faster than it may is read more slowly over every transport, and cut off if it keeps that up."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from websockets.exceptions import ConnectionClosed

from tests.client import StompClient, stomp_client
from tests.service import Server, running_server
from tests.sockjs_client import stomp_over_sockjs

RATE, BURST = 200, 50
FLOOD = 150
SETTINGS = {"INBOUND_FRAMES_PER_S": str(RATE), "INBOUND_BURST": str(BURST), "INBOUND_PATIENCE_MS": "1500"}
TRANSPORTS = ("picows", "asgi", "sockjs websocket", "sockjs xhr-streaming")


@pytest.fixture(scope="module")
def asgi_server() -> Iterator[Server]:
    with running_server(**SETTINGS, WS_TRANSPORT="asgi") as server:
        yield server


@pytest.fixture(params=TRANSPORTS)
async def client(request: pytest.FixtureRequest, server: Server, asgi_server: Server) -> AsyncIterator[StompClient]:
    """Connected over one of the transports."""
    opened: AbstractAsyncContextManager[StompClient]
    if request.param.startswith("sockjs "):
        opened = stomp_over_sockjs(server.port, request.param.removeprefix("sockjs "))
    else:
        opened = stomp_client((asgi_server if request.param == "asgi" else server).websocket_url)
    async with opened as client:
        await client.connect(f"test-{request.param.replace(' ', '-')}")
        yield client


async def test_a_queue_that_is_flushed_on_connect_arrives_whole_and_in_order(client: StompClient) -> None:
    await client.subscribe("/topic/messages")
    started_s = time.monotonic()
    await client.send_raw(b"".join(b"SEND\ndestination:/app/sendMessage\n\n%d\0" % number for number in range(FLOOD)))
    bodies = [(await client.expect("MESSAGE")).body for _ in range(FLOOD)]
    passed_s = time.monotonic() - started_s

    assert bodies == [b"%d" % number for number in range(FLOOD)]
    assert passed_s > (FLOOD - BURST) / RATE - 0.1
    await client.send("SEND", {"destination": "/app/sendMessage", "receipt": "on"}, "x")
    assert {(await client.receive()).command for _ in range(2)} == {"MESSAGE", "RECEIPT"}


async def test_a_client_that_floods_on_is_cut_off_in_the_end(client: StompClient) -> None:
    flooding = asyncio.create_task(flood(client))
    try:
        error = await client.expect("ERROR")
        assert error.headers["message"] == "rate limit"
        assert (await client.closed())[0] == 4013
    finally:
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def flood(client: StompClient) -> None:
    """Frames without end, as fast as the connection takes them."""
    frames = b"SEND\ndestination:/app/ack\n\nx\0" * 100
    with contextlib.suppress(ConnectionClosed, AssertionError, OSError):
        while True:
            await client.send_raw(frames)
            await asyncio.sleep(0)
