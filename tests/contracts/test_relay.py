"""The contract of all relays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

import pytest

from app.delivery.relay import Relay
from app.errors import IdConflict
from app.hub.publication import Notice, Publication, Published
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope
from tests.contracts.implementations import RELAYS

NODES = 3
TIMEOUT_S = 5


class Ear:
    """Records what one node received."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []
        self.notices: list[Notice] = []
        self.slow_s = 0.0

    async def receive_publication(self, publication: Publication) -> None:
        await asyncio.sleep(self.slow_s)
        self.heard.append(publication)

    def receive_notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.heard.append(notice.publication)

    def receive_message(self, envelope: Envelope, previous: int) -> None:
        raise AssertionError("nothing was put into a mailbox")

    def lose(self, users: Sequence[str]) -> None:
        """The relay ends."""

    def resume(self, users: Sequence[str]) -> None:
        raise AssertionError("the relay was not away")

    async def wait_for(self, message_id: str) -> list[str]:
        """Wait for a message and return the ids received so far."""
        async with asyncio.timeout(TIMEOUT_S):
            while message_id not in self.ids:  # noqa: ASYNC110 — the port has no event of it
                await asyncio.sleep(0.002)
        return self.ids

    @property
    def ids(self) -> list[str]:
        return [publication.message_id for publication in self.heard]


@pytest.fixture(params=RELAYS.values(), ids=[*RELAYS])
async def relays(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[Relay]]:
    async with request.param(NODES) as relays:
        yield relays


@pytest.fixture
def ears(relays: Sequence[Relay]) -> list[Ear]:
    ears = [Ear() for _ in relays]
    for relay, ear in zip(relays, ears, strict=True):
        relay.listen(ear)
    return ears


def news(id: str = "m1", body: bytes = b"news", destination: str = USER_MESSAGES) -> Publication:
    return Publication(message_id=id, destination=destination, body=body)


async def watch(*watching: Awaitable[None] | None) -> None:
    for one in watching:
        if one is not None:
            await one


async def test_where_nothing_waits_an_action_has_its_turn_at_once(relays: Sequence[Relay]) -> None:
    done: list[int] = []
    for relay in relays:
        relay.in_order(lambda: done.append(1))
        assert relay.barrier() is None
    assert done == [1] * NODES


async def test_every_other_node_hears_a_publication_once_and_the_publisher_never(
    relays: Sequence[Relay], ears: list[Ear]
) -> None:
    await relays[0].publish(news("m1"))
    await relays[1].publish(news("m2"))
    await relays[2].publish(news("end"))
    assert await ears[0].wait_for("end") == ["m2", "end"]
    assert await ears[1].wait_for("end") == ["m1", "end"]
    assert await ears[2].wait_for("m2") == ["m1", "m2"]


async def test_publications_of_one_node_are_heard_in_their_order(relays: Sequence[Relay], ears: list[Ear]) -> None:
    sent = [f"m{n}" for n in range(100)]
    for id in sent:
        await relays[0].publish(news(id))
    assert await ears[1].wait_for(sent[-1]) == sent
    assert await ears[2].wait_for(sent[-1]) == sent


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", "消息".encode(), b"x" * 300_000])
async def test_a_publication_arrives_as_it_was(relays: Sequence[Relay], ears: list[Ear], body: bytes) -> None:
    publication = Publication(
        message_id="ntf_1",
        destination="/topic/消息:a 1",
        body=body,
        content_type="application/octet-stream",
        headers=(("redelivered", "true"), ("attempt", "2")),
        binary=True,
    )
    await watch(relays[1].watch_topic(publication.destination))
    await relays[0].publish(publication)
    await ears[1].wait_for("ntf_1")
    assert ears[1].heard == [publication]


async def test_a_node_that_does_not_listen_yet_is_no_error(relays: Sequence[Relay]) -> None:
    ear = Ear()
    relays[2].listen(ear)
    await relays[0].publish(news())
    assert await ear.wait_for("m1") == ["m1"]


async def test_nodes_may_publish_to_each_other_at_the_same_time(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await asyncio.gather(*(relay.publish(news(f"m{n}")) for n, relay in enumerate(relays)))
    for n, ear in enumerate(ears):
        for other in range(NODES):
            if other != n:
                await ear.wait_for(f"m{other}")
        assert len(ear.heard) == NODES - 1


async def test_a_topic_is_heard_by_the_nodes_that_watch_it_and_by_no_other(
    relays: Sequence[Relay], ears: list[Ear]
) -> None:
    await watch(relays[1].watch_topic("/topic/a"), relays[2].watch_topic("/topic/b"))
    await relays[0].publish(news("m1", destination="/topic/a"))
    await relays[0].publish(news("m2", destination="/topic/b"))
    await relays[0].publish(news("end"))
    assert await ears[1].wait_for("end") == ["m1", "end"]
    assert await ears[2].wait_for("end") == ["m2", "end"]


async def test_an_unwatched_topic_is_not_received(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await watch(relays[1].watch_topic("/topic/a"))
    await watch(relays[1].watch_topic("/topic/a"))
    relays[1].unwatch_topic("/topic/a")
    relays[1].unwatch_topic("/topic/never")
    await relays[1].publish(news("own", destination="/topic/a"))  # its reply comes after the end of the subscription
    await relays[0].publish(news("m1", destination="/topic/a"))
    await relays[0].publish(news("end"))
    assert await ears[1].wait_for("end") == ["end"]
    await watch(relays[1].watch_topic("/topic/a"))
    await relays[0].publish(news("m2", destination="/topic/a"))
    assert await ears[1].wait_for("m2") == ["end", "m2"]


async def test_a_notice_comes_to_the_nodes_that_watch_its_user(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await watch(relays[0].watch_user("ann"), relays[1].watch_user("ann"), relays[2].watch_user("bob"))
    notice = Notice(user="ann", publication=news("m1", "消息".encode()), withdrawn=("a", "b"))
    relays[0].tell(notice)
    await ears[1].wait_for("m1")
    assert ears[1].notices == [notice]
    await relays[0].publish(news("end"))
    assert await ears[2].wait_for("end") == ["end"]
    assert ears[0].notices == []


async def test_an_unwatched_user_gets_no_notices(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await watch(relays[1].watch_user("ann"))
    relays[1].unwatch_user("ann")
    relays[1].unwatch_user("never")
    await relays[1].publish(news("own", destination="/topic/own"))  # its reply comes after the end of the subscription
    relays[0].tell(Notice(user="ann", publication=news("m1")))
    await asyncio.sleep(0)
    await relays[0].publish(news("end"))
    assert await ears[1].wait_for("end") == ["end"]


async def test_nothing_overtakes_a_publication_that_takes_its_time(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await watch(relays[1].watch_user("ann"))
    ears[1].slow_s = 0.02
    await relays[0].publish(news("slow"))
    relays[0].tell(Notice(user="ann", publication=news("m2")))
    await asyncio.sleep(0)
    await relays[0].publish(news("m3"))
    assert await ears[1].wait_for("m3") == ["slow", "m2", "m3"]


@pytest.mark.parametrize("destination", [USER_MESSAGES, "/topic/a"])
async def test_an_id_is_broadcast_once_by_all_nodes_together(
    relays: Sequence[Relay], ears: list[Ear], destination: str
) -> None:
    await watch(*(relay.watch_topic("/topic/a") for relay in relays))
    first = await relays[0].broadcast(news("m1", destination=destination), once=7)
    assert first._replace(seq=0) == Published()
    for relay in relays[1:]:
        while (again := await relay.broadcast(news("m1", destination=destination), once=7)).unreached:
            assert again.is_repeat, "the outcome of the first is written behind"
        assert again == Published(is_repeat=True)
        with pytest.raises(IdConflict):
            await relay.broadcast(news("m1", destination=destination), once=8)
    await relays[0].broadcast(news("m2", destination=destination))
    await relays[0].broadcast(news("m2", destination=destination))
    assert await ears[1].wait_for("m2") == await ears[2].wait_for("m2")
    await relays[0].publish(news("end"))
    assert await ears[1].wait_for("end") == await ears[2].wait_for("end") == ["m1", "m2", "m2", "end"]
    assert ears[0].heard == []


async def test_a_relay_that_is_connected_is_up(relays: Sequence[Relay]) -> None:
    assert [relay.is_up for relay in relays] == [True] * NODES
