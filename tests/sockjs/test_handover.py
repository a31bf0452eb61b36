"""A request that receives comes while another is attached: it waits a moment for that one to end."""

import asyncio

import pytest

from app.sockjs import session as sessions
from tests.eventually import eventually
from tests.gateway.conversation import settle
from tests.sockjs.nodes import PLENTY, Net, Node
from tests.sockjs.site import Site, session
from tests.transports.raw_http import Exchange

REFUSED = b'c[2010,"Another connection still open"]'
INTERRUPTED = b'c[1002,"Connection interrupted"]'


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests decide when a request ends, on a slow machine too."""
    monkeypatch.setattr(sessions, "HANDOVER_S", 60)


@pytest.mark.usefixtures("patient")
async def test_client_that_breaks_off_and_comes_again_may_be_seen_in_the_other_order(site: Site) -> None:
    path = session()
    _, broken = await site.stream(site.echo, path + "/xhr_streaming", "POST")
    async with Exchange(site.port) as again:
        await again.send("POST", f"/echo{path}/xhr")
        broken.writer.close()
        reply = await again.head()
        body = await again.exactly(int(reply.headers["content-length"]))

    assert body == INTERRUPTED + b"\n"


@pytest.mark.usefixtures("patient")
async def test_request_waits_at_another_node_too(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    broken = await a.sockjs.attach("s", name="xhr-polling", once=True, remote=None)
    again = asyncio.create_task(b.poll())
    await settle()
    broken.release()

    assert await again == INTERRUPTED


@pytest.mark.usefixtures("patient")
async def test_end_of_a_request_can_be_under_way_between_nodes(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    broken = await b.sockjs.attach("s", name="xhr-polling", once=True, remote=None)
    net.slow.add("a")
    broken.release()
    again = asyncio.create_task(a.poll())
    await eventually(lambda: net.under_way)
    net.bring()

    assert await again == INTERRUPTED


@pytest.mark.usefixtures("patient")
async def test_request_that_waited_goes_on_as_any_other(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    await node.poll()
    first = asyncio.create_task(node.poll())
    await settle()
    second = await node.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    frame = asyncio.create_task(second.next(PLENTY))
    await settle()

    node.endpoint.transports[0].send(b"1")
    assert await first == b'a["1"]'
    for text in (b"2", b"3"):
        node.endpoint.transports[0].send(text)
        assert await frame == b'a["%b"]' % text
        frame = asyncio.create_task(second.next(PLENTY))
    await second.finish()

    assert await frame is None
    second.release()
    assert node.endpoint.closed_count == 0


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("came_to", ["the node of the session", "another"])
async def test_place_goes_to_nobody_whose_client_has_gone_meanwhile(nodes: tuple[Node, Node], came_to: str) -> None:
    node, other = nodes
    await node.poll()
    first = asyncio.create_task(node.poll())
    await settle()
    second = await (other if came_to == "another" else node).sockjs.attach(
        "s", name="xhr-polling", once=True, remote=None
    )
    frame = asyncio.create_task(second.next(PLENTY))
    await settle()
    second.release()
    await settle()
    node.endpoint.transports[0].send(b"1")

    assert await first == b'a["1"]'
    assert await frame is None
    node.endpoint.transports[0].send(b"2")
    assert await node.poll() == b'a["2"]'


async def test_who_waits_in_vain_is_sent_away_and_leaves_the_other_alone(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    first = asyncio.create_task(a.poll())
    await settle()

    assert [await a.poll(), await b.poll()] == [REFUSED, REFUSED]
    a.endpoint.transports[0].send(b"1")
    assert await first == b'a["1"]'
