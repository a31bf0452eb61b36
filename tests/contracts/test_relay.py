"""What every relay does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.delivery.relay import Relay
from app.hub.prepared import Publication
from tests.contracts.implementations import RELAYS

NODES = 3
PATIENCE_S = 5


class Ear:
    """What one node heard."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []
        self._news = asyncio.Condition()

    async def receive(self, publication: Publication) -> None:
        async with self._news:
            self.heard.append(publication)
            self._news.notify_all()

    async def wait_for(self, message_id: str) -> list[str]:
        """The ids that were heard up to this one."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: message_id in self.ids)
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
        relay.listen(ear.receive)
    return ears


def news(id: str = "m1", body: bytes = b"news") -> Publication:
    return Publication(message_id=id, destination="/topic/a", body=body)


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
        destination="/topic/消息:a",
        body=body,
        content_type="application/octet-stream",
        headers=(("redelivered", "true"), ("attempt", "2")),
        binary=True,
    )
    await relays[0].publish(publication)
    await ears[1].wait_for("ntf_1")
    assert ears[1].heard == [publication]


async def test_a_node_that_does_not_listen_yet_is_no_error(relays: Sequence[Relay]) -> None:
    ear = Ear()
    relays[2].listen(ear.receive)
    await relays[0].publish(news())
    assert await ear.wait_for("m1") == ["m1"]


async def test_nodes_may_publish_to_each_other_at_the_same_time(relays: Sequence[Relay], ears: list[Ear]) -> None:
    await asyncio.gather(*(relay.publish(news(f"m{n}")) for n, relay in enumerate(relays)))
    for n, ear in enumerate(ears):
        for other in range(NODES):
            if other != n:
                await ear.wait_for(f"m{other}")
        assert len(ear.heard) == NODES - 1
