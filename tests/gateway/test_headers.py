"""User-defined headers of a SEND on the MESSAGE of its subscribers (1.2, "MESSAGE")."""

import pytest

from app.gateway.headers import CREDENTIALS, user_headers
from app.stomp.frames import Version
from tests.gateway.conversation import Peer, Stage

V10, V11, V12 = Version


async def subscribed(stage: Stage, version: Version, destination: str = "/topic/a", **headers: str) -> Peer:
    peer = stage.peer(version)
    await peer.connect()
    await peer.subscribe(destination, **headers)
    return peer


@pytest.mark.parametrize("version", [V10, V11, V12])
@pytest.mark.parametrize("sender", [V10, V11, V12])
@pytest.mark.parametrize("destination", ["/topic/messages", "/app/sendMessage"])
async def test_user_headers_reach_clients_of_every_version(sender: Version, version: Version, destination: str) -> None:
    stage = Stage()
    peer = await subscribed(stage, version, "/topic/messages")
    talker = stage.peer(sender)
    await talker.connect("bob")

    headers = {"destination": destination, "priority": "9", "x-größe": "a:b\\c é", "empty": "", "content-type": "a/b"}
    await talker.talk("SEND", headers, "x")

    got = peer.frame().headers
    assert {name: got[name] for name in ("priority", "x-größe", "empty")} == {
        "priority": "9",
        "x-größe": "a:b\\c é",
        "empty": "",
    }
    assert got["content-type"] == "a/b"


@pytest.mark.parametrize(
    ("version", "passed"),
    [
        (V12, {"line": "a\nb", "return": "a\rb", "a:b": "c", "plain": "x"}),
        (V11, {"line": "a\nb", "return": "a\rb", "a:b": "c", "plain": "x"}),
        (V10, {"return": "a\rb", "plain": "x"}),
    ],
)
async def test_what_a_version_cannot_write_is_left_out_and_the_rest_is_not(
    version: Version, passed: dict[str, str]
) -> None:
    stage = Stage()
    peer = await subscribed(stage, version)
    talker = await stage.connected("bob")
    sent = {"line": "a\nb", "return": "a\rb", "a:b": "c", "plain": "x"}

    await talker.talk("SEND", {"destination": "/topic/a", "content-type": "x\ny"} | sent, "x")

    got = peer.frame().headers
    assert {name: value for name, value in got.items() if name in sent} == passed
    assert got.get("content-type") == (None if version is V10 else "x\ny")


async def test_headers_of_the_server_are_not_the_senders_to_set() -> None:
    stage = Stage()
    peer = await subscribed(stage, V12, ack="client")
    talker = await stage.connected("bob")
    forged = {
        "subscription": "forged",
        "message-id": "forged",
        "ack": "forged",
        "redelivered": "forged",
        "attempt": "forged",
        "receipt": "forged",
    }

    await talker.talk("SEND", {"destination": "/topic/a", "x": "y"} | forged, "x")

    got = peer.frame().headers
    assert got["x"] == "y"
    assert "forged" not in got.values()
    assert got.keys().isdisjoint({"redelivered", "attempt", "receipt"})


async def test_a_transaction_passes_user_headers_and_not_its_name() -> None:
    stage = Stage()
    peer = await subscribed(stage, V12)
    talker = await stage.connected("bob")
    talker.send("BEGIN", {"transaction": "t"})
    talker.send("SEND", {"destination": "/topic/a", "transaction": "t", "x": "y"}, "x")
    await talker.talk("COMMIT", {"transaction": "t"})

    got = peer.frame().headers
    assert got["x"] == "y"
    assert "transaction" not in got


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "Login", "passcode", "Client-Id", "X-API-Key"])
async def test_credentials_reach_nobody(name: str) -> None:
    stage = Stage()
    peer = await subscribed(stage, V12)
    talker = await stage.connected("bob")

    await talker.talk("SEND", {"destination": "/topic/a", name: "secret"}, "x")

    assert "secret" not in peer.frame().headers.values()


def test_credentials_are_listed_in_lower_case() -> None:
    assert {name.lower() for name in CREDENTIALS} == CREDENTIALS


def test_headers_keep_their_order_and_case() -> None:
    assert user_headers({"b": "1", "destination": "/a", "A": "2", "Ack": "3"}) == (("b", "1"), ("A", "2"), ("Ack", "3"))


async def test_a_content_type_may_be_as_long_as_any_header() -> None:
    stage = Stage()
    peer = await subscribed(stage, V12)
    talker = await stage.connected("bob")
    content_type = "text/plain;note=" + "x" * 4_000

    await talker.talk("SEND", {"destination": "/topic/a", "content-type": content_type}, "x")

    assert peer.frame().headers["content-type"] == content_type


async def test_no_content_type_is_text_or_octets() -> None:
    stage = Stage()
    peer = await subscribed(stage, V12)
    talker = await stage.connected("bob")
    for content_type in ({}, {"content-type": ""}):
        await talker.talk("SEND", {"destination": "/topic/a"} | content_type, "x")
        await talker.talk("SEND", {"destination": "/topic/a"} | content_type, b"\xff")
    assert [frame.headers["content-type"] for frame in peer.frames()] == [
        "text/plain;charset=utf-8",
        "application/octet-stream",
    ] * 2
