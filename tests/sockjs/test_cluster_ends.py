"""SockJS sessions over several nodes: responses that end, nodes that end, and frames that are lost on the way."""

import asyncio

import pytest
from fastapi import FastAPI

from app.api.sockjs import sockjs_router
from app.errors import Unavailable
from tests.gateway.conversation import settle
from tests.sockjs.nodes import PLENTY, Net, Node
from tests.sockjs_app import always
from tests.transports.raw_http import Exchange
from tests.transports.serving import serving


async def test_node_that_ends_gives_back_sessions_of_others(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    waiting = asyncio.create_task(b.poll())
    await settle()

    b.sockjs.drain()

    assert await waiting is None
    await settle()
    a.endpoint.transports[0].send(b"x")
    assert await a.poll() == b'a["x"]'
    assert a.endpoint.closed_count == 0
    for node in nodes:
        await node.sockjs.aclose()


async def test_node_that_ends_while_it_asks_for_a_session_still_gets_its_frame(
    net: Net, nodes: tuple[Node, Node]
) -> None:
    a, b = nodes
    await a.poll()
    a.endpoint.transports[0].send(b"x")
    net.slow.add("a")
    asking = asyncio.create_task(b.poll())
    await settle()

    b.sockjs.drain()
    net.bring()
    net.slow.clear()

    assert await asking == b'a["x"]'
    assert a.endpoint.closed_count == 0


async def test_frame_that_is_under_way_when_a_node_ends_is_written(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    waiting = asyncio.create_task(b.poll())
    await settle()
    net.slow.add("b")
    a.endpoint.transports[0].send(b"x")
    await settle()

    b.sockjs.drain()
    await settle()
    net.bring()

    assert await waiting == b'a["x"]'


async def test_who_asks_a_node_that_ends_is_sent_on(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    b.sockjs.drain()

    assert await asyncio.wait_for(b.poll(), 30) is None

    a.endpoint.transports[0].send(b"x")
    assert await asyncio.wait_for(b.poll(), 30) == b'a["x"]'
    assert a.endpoint.closed_count == 0


async def test_stream_that_ends_elsewhere_is_over_before_its_client_knows(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    a.endpoint.transports[0].send(b"x")
    assert await source.next(PLENTY) == b'a["x"]'
    await source.finish()

    a.endpoint.transports[0].send(b"later")
    assert await a.poll() == b'a["later"]'


@pytest.mark.parametrize("accident", ["relay away", "node gone"])
async def test_frame_of_a_poll_that_cannot_be_brought_ends_the_session(
    net: Net, nodes: tuple[Node, Node], accident: str
) -> None:
    a, b = nodes
    await a.poll()
    waiting = asyncio.create_task(b.poll())
    await settle()
    if accident == "relay away":
        net.away = True
    else:
        del net.receivers["b"]

    a.endpoint.transports[0].send(b"x")
    await settle()

    assert a.endpoint.closed_count == 1
    assert await a.poll() == b'c[1002,"Connection interrupted"]'
    waiting.cancel()
    await settle()


async def test_client_that_vanishes_before_its_frame_comes_ends_the_session(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-polling", once=True, remote=None)
    net.slow.add("b")
    a.endpoint.transports[0].send(b"x")
    await settle()

    source.release()
    await settle()
    net.bring()
    await settle()

    assert a.endpoint.closed_count == 1


async def test_frame_that_never_comes_ends_the_session(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-polling", once=True, remote=None)
    source._proxy.silence_s = 0.02  # type: ignore[attr-defined]
    net.deaf.add("b")
    a.endpoint.transports[0].send(b"lost")
    await settle()

    assert await source.next(PLENTY) is None
    await source.finish()
    await settle()

    assert a.endpoint.closed_count == 1


async def test_owner_that_dies_is_noticed_before_it_has_been_silent_for_long(
    net: Net, nodes: tuple[Node, Node]
) -> None:
    a, b = nodes
    await a.poll()
    waiting = asyncio.create_task(b.poll())
    await settle()

    async def looks() -> None:
        b.pass_time(6)
        await settle()

    await looks()
    alive = net.receivers.pop("a")
    await looks()
    net.receivers["a"] = alive  # it had only lost its connection to the relay
    await looks()
    net.away = True
    await looks()
    net.away = False
    del net.receivers["a"]
    await looks()
    assert not waiting.done()

    await looks()

    assert waiting.done()
    assert await waiting is None
    assert a.endpoint.closed_count == 0


async def test_node_that_ends_without_the_relay_waits_for_no_answer(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    waiting = asyncio.create_task(b.poll())
    await settle()
    net.slow.add("a")
    asking = asyncio.create_task(b.poll())
    await settle()
    net.away = True

    b.sockjs.drain()

    assert await asyncio.wait_for(waiting, 30) is None
    with pytest.raises(Unavailable):
        await asyncio.wait_for(asking, 30)


async def test_connection_that_is_kept_does_not_bring_a_client_back_to_a_node_that_ends(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    await a.poll()
    app = FastAPI()
    app.include_router(sockjs_router(always(b.sockjs)), prefix="/sockjs")
    async with serving(app) as port, Exchange(port) as exchange:
        await exchange.send("POST", "/sockjs/0/s/xhr")
        await asyncio.sleep(0.05)

        b.sockjs.drain()

        reply = await exchange.head()
        assert await exchange.exactly(int(reply.headers["content-length"])) == b"h\n"
        assert reply.headers["connection"] == "close"
        for path in ("xhr", "xhr_streaming"):
            async with Exchange(port) as late:
                await late.send("POST", f"/sockjs/0/s/{path}")
                assert (await late.head()).headers["connection"] == "close"
                await late.rest()
    assert a.endpoint.closed_count == 0
    await settle()
