"""Pushing from Python: what application handlers and embedding applications call."""

import json
from typing import Any

import pytest

from app.errors import IdConflict, InvalidMessage
from app.gateway.routing import AppMessage, DestinationRoutes
from app.push.request import read_push
from tests.gateway.conversation import Peer, Stage

MESSAGES = "/user/queue/msg"


async def listener(stage: Stage, destination: str = MESSAGES) -> Peer:
    peer = await stage.connected()
    await peer.subscribe(destination)
    return peer


def bodies(peer: Peer) -> list[Any]:
    return [json.loads(frame.body)["data"] for frame in peer.frames() if frame.command == "MESSAGE"]


async def test_push_reaches_the_user() -> None:
    stage = Stage()
    peer = await listener(stage)
    outcome = await stage.publisher.push("alice", {"order": 1})

    assert (outcome.receiver, outcome.status, outcome.sessions) == ("alice", "sent", 1)
    assert bodies(peer) == [{"order": 1}]
    assert stage.acks.open_records == 1


async def test_push_without_acknowledgement_is_sent_once() -> None:
    stage = Stage()
    peer = await listener(stage)
    await stage.publisher.push("alice", "once", ack=False)

    assert bodies(peer) == ["once"]
    assert stage.acks.open_records == 0


async def test_push_to_be_kept_goes_to_the_history() -> None:
    stage = Stage()
    outcome = await stage.publisher.push("alice", "kept", persist=True)

    assert outcome.status == "stored"
    assert [(message.receiver, message.data) for message in stage.history.messages] == [("alice", "kept")]


async def test_broadcast_and_topic_reach_those_who_are_there() -> None:
    stage = Stage()
    everybody, subscriber = await listener(stage), await listener(stage, "/topic/news")
    await stage.publisher.broadcast("all")
    for _ in range(2):
        await stage.publisher.push_topic("news", "topic", id="news-1")

    assert (bodies(everybody), bodies(subscriber)) == (["all"], ["topic"])


async def test_same_id_pushes_once() -> None:
    stage = Stage()
    peer = await listener(stage)
    first, second = [await stage.publisher.push("alice", "x", id="order-1") for _ in range(2)]

    assert (first.replayed, second.replayed) == (False, True)
    assert bodies(peer) == ["x"]
    with pytest.raises(IdConflict):
        await stage.publisher.push("alice", "y", id="order-1")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"receiver": ""}, "receiver must not be empty"),
        ({"receiver": 7}, "receiver: Input should be a valid string"),
        ({"type": "UNKNOWN"}, "the type 'UNKNOWN' is not known"),
        ({"id": "ntk_mine"}, "ntk_"),
        ({"ttl_ms": 0}, "ttl_ms: Input should be greater than 0"),
        ({"ttl_ms": 600_001}, "ttl_ms is 600001, at most 600000 is allowed"),
    ],
)
async def test_bad_push_says_what_was_wrong(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        await Stage().publisher.push(**{"receiver": "alice", "data": "x"} | fields)


async def test_broadcast_cannot_be_kept() -> None:
    with pytest.raises(InvalidMessage, match="a broadcast is not stored"):
        await Stage().publisher.publish(read_push({"receiver": None, "data": "x", "persist": True}))


async def test_bad_item_of_a_batch_leaves_the_others_alone() -> None:
    stage = Stage()
    peer = await listener(stage)
    broken = InvalidMessage("the body is not an object")
    items = [read_push({"receiver": receiver, "data": receiver}) for receiver in ("alice", "a/b")]
    sent, refused, given = await stage.publisher.publish_batch([*items, broken])

    assert bodies(peer) == ["alice"]
    assert (sent.receiver, given) == ("alice", broken)  # type: ignore[union-attr]  # an outcome
    assert isinstance(refused, InvalidMessage)


async def test_handler_of_an_application_pushes() -> None:
    routes = DestinationRoutes()

    @routes.message("/app/typing")
    async def typing(message: AppMessage) -> None:
        await message.push(message.text(), f"{message.user} types")

    stage = Stage(routes=routes)
    peer = await listener(stage)
    (message,) = await peer.talk("SEND", {"destination": "/app/typing"}, "alice")
    (refusal,) = await peer.talk("SEND", {"destination": "/app/typing", "receipt": "1"}, "no/body")

    assert json.loads(message.body)["data"] == "alice types"
    assert (refusal.command, b"a slash" in refusal.body) == ("ERROR", True)
