"""How far a node may be ahead of what another has read."""

import asyncio

import pytest

import app.sockjs.cluster.window as window
from app.errors import Unavailable
from app.sockjs.cluster.messages import Frame, Mark, MarkRead, decode
from app.sockjs.cluster.window import WINDOW_BYTES, WindowedChannel
from tests.gateway.conversation import settle
from tests.sockjs.nodes import FakeChannel, Net

QUARTER = WINDOW_BYTES // 4


def frame(size: int) -> Frame:
    """A message of about `size` bytes."""
    return Frame(1, b"x" * (size - 20))


class Pair:
    """Two ends, of which b notes what it gets."""

    def __init__(self, net: Net) -> None:
        self.got: list[int] = []
        self.a = WindowedChannel(FakeChannel(net, "a"))
        self.b = WindowedChannel(FakeChannel(net, "b"))
        FakeChannel(net, "a").listen(lambda sender, content: self._receive_read(content))
        FakeChannel(net, "b").listen(self._receive)
        self._tasks: set[asyncio.Task[None]] = set()

    def _receive_read(self, content: bytes) -> None:
        message = decode(content)
        assert isinstance(message, MarkRead)
        self.a.receive(message)

    def _receive(self, sender: str, content: bytes) -> None:
        message = decode(content)
        if isinstance(message, Frame):
            self.got.append(len(message.data) + 20)
        else:
            assert isinstance(message, Mark)
            self._tasks.add(asyncio.create_task(self.b.confirm(sender, message)))


@pytest.fixture
def pair(net: Net) -> Pair:
    return Pair(net)


async def test_no_more_than_the_window_is_unread_and_all_arrives_in_order(net: Net, pair: Pair) -> None:
    net.slow.add("b")
    sizes = [QUARTER - number for number in range(20)]
    sending = [asyncio.create_task(pair.a.send("b", frame(size))) for size in sizes]
    while not all(task.done() for task in sending):
        await settle()
        assert len(net.under_way) <= 5  # four frames and a mark
        net.bring()

    assert pair.got == sizes
    assert {await task for task in sending} == {True}


async def test_message_that_is_larger_than_the_window_goes_alone(net: Net, pair: Pair) -> None:
    net.slow.add("b")
    assert await pair.a.send("b", frame(2 * WINDOW_BYTES))
    small = asyncio.create_task(pair.a.send("b", frame(100)))
    await settle()
    assert not small.done()

    net.bring()

    assert await small


async def test_node_that_does_not_read_is_given_no_more(net: Net, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "READ_TIMEOUT_S", 0.02)
    net.deaf.add("b")
    assert await pair.a.send("b", frame(WINDOW_BYTES))
    with pytest.raises(Unavailable):
        await pair.a.send("b", frame(100))

    net.deaf.clear()

    assert await pair.a.send("b", frame(100))


async def test_node_that_is_gone_is_forgotten(net: Net, pair: Pair) -> None:
    assert await pair.a.send("b", frame(WINDOW_BYTES))
    del net.receivers["b"]
    assert not await pair.a.send("b", frame(100))
    assert not pair.a._windows


async def test_confirmation_that_is_lost_or_unexpected_is_ignored(net: Net, pair: Pair) -> None:
    pair.a.receive(MarkRead(1))
    net.away = True
    await pair.b.confirm("a", Mark(1))
