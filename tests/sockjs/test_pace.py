"""How far a node may be ahead of another that reads what it sends."""

import asyncio

import pytest

import app.sockjs.cluster.pace as pace
from app.errors import Unavailable
from app.sockjs.cluster.pace import WINDOW_BYTES, PacedPost
from app.sockjs.cluster.post import decode_note
from tests.gateway.conversation import settle
from tests.sockjs.nodes import FakePost, Net

LETTER = WINDOW_BYTES // 4


class Pair:
    """Two ends, of which b notes what it gets."""

    def __init__(self, net: Net) -> None:
        self.got: list[int] = []
        self.a = PacedPost(FakePost(net, "a"))
        self.b = PacedPost(FakePost(net, "b"))
        FakePost(net, "a").listen(lambda sender, content: self.a.receive(decode_note(content)))
        FakePost(net, "b").listen(self._receive)
        self._tasks: set[asyncio.Task[None]] = set()

    def _receive(self, sender: str, content: bytes) -> None:
        if content.startswith(b"x"):
            self.got.append(len(content))
        else:
            self._tasks.add(asyncio.create_task(self.b.answer(sender, decode_note(content))))


@pytest.fixture
def pair(net: Net) -> Pair:
    return Pair(net)


async def test_no_more_than_the_window_is_unread_and_all_arrives_in_order(net: Net, pair: Pair) -> None:
    net.slow.add("b")
    sizes = [LETTER - number for number in range(20)]
    sending = [asyncio.create_task(pair.a.send("b", b"x" * size)) for size in sizes]
    while not all(task.done() for task in sending):
        await settle()
        assert len(net.under_way) <= 5  # four letters and a mark
        net.bring()

    assert pair.got == sizes
    assert {await task for task in sending} == {True}


async def test_letter_that_is_larger_than_the_window_goes_alone(net: Net, pair: Pair) -> None:
    net.slow.add("b")
    assert await pair.a.send("b", b"x" * 2 * WINDOW_BYTES)
    small = asyncio.create_task(pair.a.send("b", b"x"))
    await settle()
    assert not small.done()

    net.bring()

    assert await small


async def test_node_that_does_not_read_is_given_no_more(net: Net, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "READ_S", 0.02)
    net.deaf.add("b")
    assert await pair.a.send("b", b"x" * WINDOW_BYTES)
    with pytest.raises(Unavailable):
        await pair.a.send("b", b"x")

    net.deaf.clear()

    assert await pair.a.send("b", b"x")


async def test_node_that_is_gone_is_forgotten(net: Net, pair: Pair) -> None:
    assert await pair.a.send("b", b"x" * WINDOW_BYTES)
    del net.receivers["b"]
    assert not await pair.a.send("b", b"x")
    assert not pair.a._lanes


async def test_answer_that_nobody_hears_or_waits_for_is_no_failure(net: Net, pair: Pair) -> None:
    mark = decode_note(b'["mark", 1, "", 0, false]\n')
    pair.a.receive(mark)
    net.away = True
    await pair.b.answer("a", mark)
