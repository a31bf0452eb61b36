"""The Redis relay beyond the contract: losses, floods, and messages of other programs."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from app.cluster.keys import EVERYBODY, user_channel
from app.cluster.relay import redis as relay_module
from app.cluster.relay.redis import RedisRelay
from app.cluster.wire import Kind, NodeMessage, encode_envelope, encode_publication, label
from app.hub.publication import Notice, Publication
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.eventually import eventually
from tests.nodes import proxied_node, running_node
from tests.valkey import fresh_database, valkey


class Ear:
    """Records the ids that one node received; a publication blocks until `free`."""

    def __init__(self, relay: RedisRelay) -> None:
        self.heard: list[str] = []
        self.seqs: list[tuple[int, int]] = []
        self.lost: list[Sequence[str]] = []
        self.resumed: list[Sequence[str]] = []
        self.free = asyncio.Event()
        self.free.set()
        relay.listen(self)

    async def receive_publication(self, publication: Publication) -> None:
        await self.free.wait()
        self.heard.append(publication.message_id)

    def receive_notice(self, notice: Notice) -> None:
        self.heard.append(notice.publication.message_id)

    def receive_message(self, envelope: Envelope, previous: int) -> None:
        self.heard.append(envelope.message.id)
        self.seqs.append((envelope.seq, previous))

    def lose(self, users: Sequence[str]) -> None:
        self.lost.append(users)

    def resume(self, users: Sequence[str]) -> None:
        self.resumed.append(users)


def publication(id: str) -> Publication:
    return Publication(message_id=id, destination=USER_MESSAGES, body=b"x")


def news(id: str, sender: str = "other") -> bytes:
    return label(Kind.PUBLICATION, sender) + encode_publication(publication(id))


def message(id: str, sender: str = "other") -> bytes:
    content = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data="x", viewed=False, created=5)
    text = encode_envelope(Envelope(message=content, encoder=MessageEncoder(content), expires_ms=9))
    return label(Kind.MESSAGE, sender) + text[:-1] + b',"accepted":2,"previous":1,"life_ms":9,"expires_ms":9}'


async def watch(relay: RedisRelay, user: str) -> None:
    if (watching := relay.watch_user(user)) is not None:
        await watching


async def test_messages_and_publications_come_in_the_order_in_which_they_were_published() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            ear = Ear(node.relay)
            await watch(node.relay, "ann")
            ear.free.clear()
            for n, payload in enumerate((message("m0"), news("m1"), message("m2"), news("m3"), message("m4"))):
                await node.client.publish(user_channel("ann") if n % 2 == 0 else EVERYBODY, payload)
            assert ear.heard == ["m0"]
            ear.free.set()
            await eventually(lambda: ear.heard == ["m0", "m1", "m2", "m3", "m4"])
            await node.client.publish(user_channel("ann"), message("m5"))
            assert ear.heard[-1] == "m5", "at once again"


async def test_what_the_node_itself_has_published_is_not_heard() -> None:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            ear = Ear(node.relay)
            await watch(node.relay, "ann")
            await node.client.publish(user_channel("ann"), message("m1", "n1"))
            await node.client.publish(user_channel("ann"), message("m2", "n2"))
            assert (ear.heard, ear.seqs) == (["m2"], [(2, 1)])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n",
        b"hello",
        b'{"json": true}',
        b"M\xff\n{}",
        b"Mn2\nnot json",
        b"Mn2\n{}",
        b'Mn2\n{"id":1,"type":2}',
        b"Nn2\n{}\nbody",
        b"Pn2\n",
        b"Pn2\n[]\n",
        b'Pn2\n{"message_id":1,"destination":[],"content_type":2,"headers":[],"binary":0}\n',
        b"Qn2\n{}",
        b"Qn2\nnull",
        b'Qn2\n{"number":1,"name":"none","question":{}}',
        b"An2\n[]",
        b'An2\n{"number":1}',
        b"An2\n\xff",
    ],
)
async def test_what_others_publish_there_does_no_harm(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            ear = Ear(node.relay)
            await watch(node.relay, "ann")
            for channel in (EVERYBODY, user_channel("ann")):
                await node.client.publish(channel, payload)
            await node.client.publish(EVERYBODY, news("after"))
            await eventually(lambda: ear.heard[-1:] == ["after"])
            assert node.client.is_up
    assert "never retrieved" not in caplog.text


async def test_questions_and_answers_are_passed_on() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            passed: list[NodeMessage] = []
            node.relay.on_other = passed.append
            await node.client.publish(EVERYBODY, label(Kind.QUESTION, "n2") + b"{}")
            assert passed == [NodeMessage(Kind.QUESTION, "n2", b"{}")]


async def test_a_publication_that_fails_does_not_keep_those_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            ear = Ear(node.relay)
            await node.client.publish(EVERYBODY, b"Pn2\n[]\n")
            await node.client.publish(EVERYBODY, news("after"))
            await eventually(lambda: ear.heard == ["after"])
    assert "a message of another node could not be handled" in caplog.text


async def test_messages_before_listen_are_dropped() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            await watch(node.relay, "ann")
            await node.client.publish(user_channel("ann"), message("m1"))
            await node.client.publish(EVERYBODY, news("m2"))
            ear = Ear(node.relay)
            await node.client.publish(EVERYBODY, news("m3"))
            await eventually(lambda: ear.heard[-1:] == ["m3"])
            assert "m1" not in ear.heard


# Losses


async def test_users_that_are_watched_are_resumed_after_a_loss_and_others_are_not() -> None:
    async with proxied_node() as (proxy, node):
        ear = Ear(node.relay)
        await watch(node.relay, "ann")
        await watch(node.relay, "bob")
        node.relay.watch_topic("/topic/a")
        node.relay.unwatch_user("bob")
        proxy.cut()
        await eventually(lambda: not node.relay.is_up)
        await eventually(lambda: node.relay.is_up)
        assert ear.resumed == [["ann"]]
        assert ear.lost[0] == ["ann"]
        await node.client.publish(user_channel("ann"), message("m1"))
        assert ear.heard == ["m1"]


async def test_a_notice_that_cannot_be_published_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with proxied_node() as (proxy, node):
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.relay.is_up)
        node.relay.tell(Notice(user="ann", publication=publication("m1")))
        await eventually(lambda: "were not told of a change" in caplog.text)
        assert len(node.relay._tasks) == 0


# Floods


async def test_reading_stops_while_too_much_waits_and_the_server_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading is paused for longer than the reply timeout, and messages on their way are not lost."""
    monkeypatch.setattr(relay_module, "HIGH_WATERMARK", 10)
    monkeypatch.setattr(relay_module, "LOW_WATERMARK", 5)
    with fresh_database() as url:
        async with running_node(url, timeout_s=0.1) as node:
            ear = Ear(node.relay)
            ear.free.clear()
            sent = [f"m{n}" for n in range(3_000)]
            for id in sent:
                valkey().command("PUBLISH", EVERYBODY, news(id + "x" * 1_000).decode())
            answer = asyncio.ensure_future(node.client.call("k", "PING"))
            await asyncio.sleep(0.3)
            assert 10 <= len(node.relay._waiting) < len(sent), "not all is read"
            assert not answer.done()
            ear.free.set()
            await eventually(lambda: len(ear.heard) == len(sent))
            assert [id.rstrip("x") for id in ear.heard] == sent
            assert await answer == b"PONG"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_connection_that_comes_while_too_much_waits_is_not_read_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "HIGH_WATERMARK", 10)
    monkeypatch.setattr(relay_module, "LOW_WATERMARK", 5)
    async with proxied_node() as (_, node):
        ear = Ear(node.relay)
        ear.free.clear()
        for n in range(20):
            valkey().command("PUBLISH", EVERYBODY, news(f"m{n}").decode())
        await eventually(lambda: len(node.relay._waiting) >= 10)
        (link,) = node.client._connections.values()
        link.abort()
        await eventually(lambda: node.relay.is_up)
        for n in range(3_000):
            valkey().command("PUBLISH", EVERYBODY, news(f"late{n}" + "x" * 1_000).decode())
        await asyncio.sleep(0.1)
        assert len(node.relay._waiting) < 1_000
        ear.free.set()
        await eventually(lambda: any(id.startswith("late2999") for id in ear.heard))


# Order of what this node sends to its own sessions


async def test_own_pushes_wait_for_what_came_before_them() -> None:
    with fresh_database() as url:
        async with running_node(url) as node:
            ear = Ear(node.relay)
            assert node.relay.barrier() is None
            ear.free.clear()
            await node.client.publish(EVERYBODY, news("m1"))
            turn, gone = node.relay.barrier(), node.relay.barrier()
            assert turn is not None
            assert gone is not None
            asyncio.ensure_future(gone).cancel()
            await node.client.publish(EVERYBODY, news("m2"))
            waiting = asyncio.ensure_future(turn)
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.add_done_callback(lambda done: ear.heard.append("own"))
            node.relay.in_order(lambda: ear.heard.append("last"))
            ear.free.set()
            await eventually(lambda: len(ear.heard) == 4)
            assert ear.heard == ["m1", "own", "m2", "last"]
            assert node.relay.barrier() is None
            node.relay.in_order(lambda: ear.heard.append("at once"))
            assert ear.heard[-1] == "at once"
