"""SockJS sessions over several nodes, without Redis: what one says to another, and what happens when it does not."""

import asyncio

import pytest

import app.sockjs.cluster.owner as owner_side
import app.sockjs.cluster.proxy as proxy_side
from app.errors import Unavailable
from app.sockjs.endpoint import UnknownSession
from app.sockjs.session import MAX_WAITING_SENDS, Busy
from tests.gateway.conversation import settle
from tests.sockjs.nodes import PLENTY, FakeOwners, Net, Node


async def test_frames_are_fetched_one_by_one(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    assert await a.poll() == b"o"
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    transport = a.endpoint.transports[0]
    for number in range(3):
        transport.send(b"%d" % number)
        assert await source.next(PLENTY) == b'a["%d"]' % number
    await source.finish()
    await settle()
    transport.send(b"later")
    assert await b.poll() == b'a["later"]'
    assert b.endpoint.transports == []


async def test_what_waits_goes_together_up_to_the_limit(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    for text in (b"aa", b"bb", b"cc"):
        a.endpoint.transports[0].send(text)
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    assert await source.next(PLENTY) == b'a["aa","bb","cc"]'
    await source.finish()


async def test_messages_are_passed_in_their_order(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    for number in range(5):
        await nodes[number % 2].sockjs.receive("s", [f"{number}", f"{number} \ud800"])
    assert [data.decode("utf-8", "surrogatepass") for data in a.endpoint.received] == [
        text for number in range(5) for text in (f"{number}", f"{number} \ud800")
    ]
    assert b.endpoint.received == []


async def test_session_that_nobody_has_is_unknown(nodes: tuple[Node, Node]) -> None:
    for node in nodes:
        with pytest.raises(UnknownSession):
            await node.sockjs.receive("nobody", ["x"])


async def test_client_that_vanishes_at_the_other_node_ends_the_session(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-polling", once=True, remote=None)
    waiting = asyncio.create_task(source.next(PLENTY))
    await settle()

    source.release()

    assert await waiting is None
    await settle()
    assert a.endpoint.closed_count == 1


async def test_frame_that_is_never_written_ends_the_session(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    a.endpoint.transports[0].send(b"x")
    assert await source.next(PLENTY) == b'a["x"]'

    a.pass_time(owner_side.WRITE_TIMEOUT_S - 1)
    assert a.endpoint.closed_count == 0
    a.pass_time(2)

    assert a.endpoint.closed_count == 1
    assert await source.next(PLENTY) is None


async def test_owner_that_is_gone_is_replaced(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    del net.receivers["a"]

    assert await b.poll() == b"o"

    assert net.owners["s"] == "b"


async def test_owner_that_does_not_answer_is_replaced_and_notices(
    net: Net, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_side, "REPLY_TIMEOUT_S", 0.02)
    a, b = nodes
    await a.poll()
    net.deaf.add("a")
    assert await b.poll() == b"o"
    net.deaf.clear()

    a.pass_time(21)
    await settle()

    assert a.endpoint.closed_count == 1
    assert net.owners["s"] == "b"


async def test_owner_that_has_forgotten_the_session_is_replaced(net: Net, nodes: tuple[Node, Node]) -> None:
    net.owners["s"] = "a"
    assert await nodes[1].poll() == b"o"
    assert net.owners["s"] == "b"


async def test_message_for_an_owner_that_is_gone_has_no_session(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    await b.sockjs.receive("s", ["x"])
    del net.receivers["a"]
    with pytest.raises(UnknownSession):
        await b.sockjs.receive("s", ["y"])


async def test_message_that_is_not_answered_may_be_sent_again(
    net: Net, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_side, "TAKE_TIMEOUT_S", 0.02)
    a, b = nodes
    await a.poll()
    net.deaf.add("a")
    with pytest.raises(Unavailable):
        await b.sockjs.receive("s", ["x"])


async def test_owner_that_falls_silent_ends_the_response(
    net: Net, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    source._proxy.silence_s = 0.02  # type: ignore[attr-defined]
    net.deaf.add("a")
    assert await source.next(PLENTY) is None


async def test_session_that_takes_no_more_is_busy_from_everywhere(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    a.endpoint.transports[0].pause_reading()
    waiting = [asyncio.create_task(b.sockjs.receive("s", [f"{number}"])) for number in range(MAX_WAITING_SENDS)]
    await settle()

    with pytest.raises(Busy):
        await b.sockjs.receive("s", ["too much"])

    a.endpoint.transports[0].resume_reading()
    await asyncio.gather(*waiting)
    assert a.endpoint.received == [b"%d" % number for number in range(MAX_WAITING_SENDS)]


async def test_session_that_keeps_its_client_waiting_is_not_given_up(
    net: Net, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_side, "TAKE_TIMEOUT_S", 0.02)
    a, _ = nodes
    patient = Node(net, "c", hold_s=30)
    await a.poll()
    transport = a.endpoint.transports[0]
    transport.pause_reading()
    waiting = asyncio.create_task(patient.sockjs.receive("s", ["x"]))

    assert await asyncio.wait([waiting], timeout=0.1) == (set(), {waiting})
    transport.resume_reading()
    await waiting

    assert a.endpoint.received == [b"x"]
    await patient.sockjs.aclose()


async def test_message_overtakes_none_that_waits(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    transport = a.endpoint.transports[0]
    transport.pause_reading()
    waiting = [asyncio.create_task(b.sockjs.receive("s", [f"{number}"])) for number in range(3)]
    await settle()

    transport.resume_reading()
    await a.sockjs.receive("s", ["3"])

    await asyncio.gather(*waiting)
    assert a.endpoint.received == [b"0", b"1", b"2", b"3"]


async def test_session_takes_no_more_when_it_stops_again_among_those_that_wait(nodes: tuple[Node, Node]) -> None:
    a, _ = nodes
    await a.poll()
    transport = a.endpoint.transports[0]
    a.endpoint.after_each = transport.pause_reading
    waiting = [asyncio.create_task(a.sockjs.receive("s", [f"{number}"])) for number in range(3)]
    for number in range(3):
        await settle()
        assert a.endpoint.received == [b"%d" % earlier for earlier in range(number + 1)]
        transport.resume_reading()
    await asyncio.gather(*waiting)


async def test_sessions_of_this_node_need_no_relay(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    net.away = True

    a.endpoint.transports[0].send(b"x")
    assert await a.poll() == b'a["x"]'
    await a.sockjs.receive("s", ["y"])
    a.pass_time(21)
    await settle()

    assert a.endpoint.received == [b"y"]
    for call in (b.poll(), b.poll("new"), b.sockjs.receive("s", ["z"])):
        with pytest.raises(Unavailable):
            await call


async def test_relay_that_goes_away_ends_forwarded_requests(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    source = await b.sockjs.attach("s", name="xhr-streaming", once=False, remote=None)
    a.endpoint.transports[0].send(b"x")
    assert await source.next(PLENTY) == b'a["x"]'
    net.away = True

    assert await source.next(PLENTY) is None

    await source.finish()
    await settle()


async def test_session_that_ends_is_nobodys(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    a.pass_time(31)
    assert net.owners == {}
    with pytest.raises(UnknownSession):
        await b.sockjs.receive("s", ["x"])


async def test_message_finds_the_owner_of_now(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    c = Node(net, "c")
    await a.poll()
    await b.sockjs.receive("s", ["x"])
    del net.receivers["a"]
    assert await c.poll() == b"o"

    await b.sockjs.receive("s", ["y"])

    assert (a.endpoint.received, c.endpoint.received) == ([b"x"], [b"y"])


async def test_session_that_is_just_being_claimed_is_known(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Claiming(FakeOwners):
        async def claim(self, session: str, *, instead_of: str = "") -> str:
            owner = await super().claim(session, instead_of=instead_of)
            await claimed
            return owner

    a.sockjs._cluster._owners = Claiming(net, "a")  # type: ignore[union-attr]
    net.slow.add("a")
    first = asyncio.create_task(a.poll())
    await settle()
    second = asyncio.create_task(b.poll())
    await settle()

    claimed.set_result(None)  # in one breath: the answer of Redis, and behind it what others say
    net.bring()
    net.slow.clear()

    assert await first == b"o"
    await settle()
    assert net.owners["s"] == "a"
    assert b.endpoint.transports == []
    second.cancel()
    await settle()


async def test_claims_are_refreshed_as_soon_as_the_relay_is_back(net: Net, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.poll()
    net.away = True
    a.pass_time(21)
    await settle()
    net.away = False
    net.owners.clear()

    a.pass_time(1)
    await settle()

    await b.sockjs.receive("s", ["x"])
    assert a.endpoint.received == [b"x"]
