"""A connected session: each frame, its answer, and the end."""

import asyncio
import json
import logging

import pytest

from app.disconnects import GONE
from app.errors import SessionLimit
from app.gateway.routing import AppMessage, DestinationRoutes, Rejected
from app.stomp.frames import Version
from tests.gateway.conversation import Peer, Stage, settle

ERRORS = "/user/queue/errors"


class Handlers(DestinationRoutes):
    """Application destinations of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.calls: list[str] = []
        self.ended: list[str] = []
        self.message("/app/sync")(self.sync)
        self.message("/app/slow")(self.slow)
        self.message("/app/rejects")(self.rejects)
        self.message("/app/rejects-later")(self.rejects_later)
        self.message("/app/breaks")(self.breaks)
        self.message("/app/breaks-later")(self.breaks_later)
        self.message("/app/cancelled")(self.cancelled)
        self.message("/app/json")(self.json)

    def sync(self, message: AppMessage) -> None:
        self.calls.append(f"{message.user} {message.text()}")

    async def slow(self, message: AppMessage) -> None:
        self.calls.append(f"slow {message.text()}")
        try:
            await self.gate.wait()
        finally:
            self.ended.append(message.text())

    def rejects(self, message: AppMessage) -> None:
        raise Rejected("not this")

    async def rejects_later(self, message: AppMessage) -> None:
        await asyncio.sleep(0)
        raise Rejected("not this either")

    def breaks(self, message: AppMessage) -> None:
        raise KeyError("secret")

    async def breaks_later(self, message: AppMessage) -> None:
        await asyncio.sleep(0)
        raise KeyError("secret")

    async def cancelled(self, message: AppMessage) -> None:
        work = asyncio.ensure_future(asyncio.sleep(10))
        work.cancel()
        await work

    def json(self, message: AppMessage) -> None:
        self.calls.append(repr(message.json()))


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def stage(handlers: Handlers) -> Stage:
    return Stage(routes=handlers)


def is_error(peer: Peer, message: str | None = None) -> bool:
    (frame,) = peer.frames()
    return frame.command == "ERROR" and message in (None, frame.headers["message"])


# Receipts


@pytest.mark.parametrize("version", list(Version))
async def test_every_frame_is_confirmed_once_its_work_is_done(version: Version, stage: Stage) -> None:
    peer = stage.peer(version)
    await peer.connect()
    frames: list[tuple[str, dict[str, str], str]] = [
        ("SUBSCRIBE", {"id": "s", "destination": "/topic/a"}, ""),
        ("SUBSCRIBE", {"id": "t", "destination": "/user/queue/msg", "ack": "client"}, ""),
        ("SEND", {"destination": "/app/sync"}, "x"),
        ("SEND", {"destination": "/app/ack"}, "no-such-id"),
        ("SEND", {"destination": "/app/sendMessage"}, "x"),
        ("SEND", {"destination": "/topic/b"}, "x"),
        ("BEGIN", {"transaction": "1"}, ""),
        ("SEND", {"destination": "/app/sync", "transaction": "1"}, "x"),
        ("COMMIT", {"transaction": "1"}, ""),
        ("BEGIN", {"transaction": "1"}, ""),
        ("ABORT", {"transaction": "1"}, ""),
        ("ACK", {"id": "no/t", "message-id": "no", "subscription": "t"}, ""),
        *([("NACK", {"id": "no/t", "message-id": "no", "subscription": "t"}, "")] if version != "1.0" else []),
        ("UNSUBSCRIBE", {"id": "s"}, ""),
    ]
    for number, (command, headers, body) in enumerate(frames):
        (receipt,) = await peer.talk(command, headers | {"receipt": f"r-{number}"}, body)
        assert (receipt.command, dict(receipt.headers)) == ("RECEIPT", {"receipt-id": f"r-{number}"}), command

    (receipt,) = await peer.talk("DISCONNECT", {"receipt": "bye"})
    assert dict(receipt.headers) == {"receipt-id": "bye"}
    assert peer.close_code == 1000
    assert len(stage.hub) == len(stage.gateway) == 0


async def test_receipt_id_comes_back_as_it_was(stage: Stage) -> None:
    peer = await stage.connected()

    (receipt,) = await peer.talk("SEND", {"destination": "/app/sync", "receipt": "a:b\\c\nd\re é"})

    assert receipt.headers["receipt-id"] == "a:b\\c\nd\re é"


async def test_receipt_waits_for_an_async_handler_and_the_next_frame_too(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    peer.send("SEND", {"destination": "/app/slow", "receipt": "r1"}, "a")
    peer.send("SEND", {"destination": "/app/sync", "receipt": "r2"}, "b")
    await settle()
    assert handlers.calls == ["slow a"]
    assert peer.frames() == []
    assert not peer.transport.reading

    handlers.gate.set()
    await settle()

    assert handlers.calls == ["slow a", "alice b"]
    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["r1", "r2"]
    assert peer.transport.reading


async def test_commit_is_confirmed_after_the_last_of_its_frames(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    await peer.talk("BEGIN", {"transaction": "t"})
    await peer.talk("SEND", {"destination": "/app/slow", "transaction": "t"}, "1")
    await peer.talk("SEND", {"destination": "/app/sync", "transaction": "t"}, "2")
    assert handlers.calls == []

    assert await peer.talk("COMMIT", {"transaction": "t", "receipt": "r"}) == []
    assert handlers.calls == ["slow 1"]
    handlers.gate.set()
    await settle()

    assert handlers.calls == ["slow 1", "alice 2"]
    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["r"]


async def test_commit_does_what_can_be_done_and_tells_the_rest(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    await peer.subscribe(ERRORS)
    await peer.talk("BEGIN", {"transaction": "t"})
    for destination in ("/app/rejects", "/app/sync", "/app/nobody", "/app/sync"):
        await peer.talk("SEND", {"destination": destination, "transaction": "t"}, "x")

    (told,) = await peer.talk("COMMIT", {"transaction": "t", "receipt": "r"})

    assert handlers.calls == ["alice x", "alice x"]
    body = json.loads(told.body)
    assert body["receipt"] == "r"
    assert "not this" in body["detail"]
    assert "/app/nobody" in body["detail"]


async def test_what_may_not_be_sent_may_not_be_sent_in_a_transaction_either(stage: Stage) -> None:
    peer = await stage.connected()
    await peer.talk("BEGIN", {"transaction": "t"})
    await peer.talk("SEND", {"destination": "/user/bob/queue/msg", "transaction": "t"}, "x")

    (error,) = await peer.talk("COMMIT", {"transaction": "t", "receipt": "r"})

    assert (error.command, error.headers["receipt-id"]) == ("ERROR", "r")
    assert peer.close_code == 4507


# The end


async def test_disconnect_without_receipt_just_ends(stage: Stage) -> None:
    peer = await stage.connected()

    assert await peer.talk("DISCONNECT") == []
    assert peer.close_code == 1000


async def test_nothing_is_processed_after_disconnect(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    peer.connection.receive(
        b"DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:/app/sync\nreceipt:r\n\nx\0FOO\n\n\0DISCONNECT\nreceipt:2\n\n\0"
    )
    peer.send("SEND", {"destination": "/app/sync"}, "y")
    await settle()

    assert [frame.headers["receipt-id"] for frame in peer.frames()] == ["bye"]
    assert handlers.calls == []


async def test_nothing_is_processed_after_an_error(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    peer.connection.receive(b"FOO\nreceipt:r\n\n\0SEND\ndestination:/app/sync\nreceipt:s\n\nx\0")
    peer.send("SEND", {"destination": "/app/sync"}, "y")
    await settle()

    (error,) = peer.frames()
    assert (error.command, error.headers["receipt-id"]) == ("ERROR", "r")
    assert peer.close_code == 4501
    assert handlers.calls == []


async def test_error_during_async_work_stops_the_frames_behind_it(stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    peer.send("SEND", {"destination": "/app/slow"}, "a")
    peer.send("FOO", {})
    peer.send("SEND", {"destination": "/app/sync"}, "b")
    await settle()
    assert peer.frames() == []

    handlers.gate.set()
    await settle()

    assert is_error(peer, "unknown command")
    assert handlers.calls == ["slow a"]


@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("command", ["SEND", "COMMIT"])
async def test_what_a_client_has_sent_is_done_though_it_vanishes(
    command: str, has_begun: bool, stage: Stage, handlers: Handlers
) -> None:
    peer = await stage.connected()
    if command == "SEND":
        peer.send("SEND", {"destination": "/app/slow", "receipt": "r"}, "a")
    else:
        await peer.talk("BEGIN", {"transaction": "t"})
        await peer.talk("SEND", {"destination": "/app/slow", "transaction": "t"}, "a")
        peer.send("COMMIT", {"transaction": "t"})
    peer.send("SUBSCRIBE", {"id": "s", "destination": "/topic/late"})
    peer.send("SEND", {"destination": "/app/sync"}, "b")
    if has_begun:
        await settle()

    peer.connection.closed()
    await settle()

    assert len(stage.hub) == 0
    with pytest.raises(SessionLimit):  # it counts among those of its user for as long as it makes work
        await stage.presence.join("alice", "another", 1)
    assert (handlers.calls, handlers.ended) == (["slow a"], [])

    handlers.gate.set()
    await settle()

    assert (handlers.calls, handlers.ended) == (["slow a", "alice b"], ["a"])
    assert not stage.hub.has_subscribers("/topic/late")
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0
    assert set(stage.disconnects) == {GONE}
    await stage.presence.join("alice", "another", 1)


@pytest.mark.parametrize(
    ("command", "done"), [("DISCONNECT", ["slow a"]), ("NONSENSE", ["slow a"]), ("SEND", ["slow a", "alice b"])]
)
async def test_what_ends_a_session_ends_it_though_the_client_has_vanished(
    command: str, done: list[str], stage: Stage, handlers: Handlers
) -> None:
    peer = await stage.connected()
    peer.send("SEND", {"destination": "/app/slow"}, "a")
    peer.send(command, {"destination": "/app/rejects-later"})
    peer.send("SEND", {"destination": "/app/sync"}, "b")
    peer.connection.closed()
    handlers.gate.set()
    await settle()

    assert handlers.calls == done
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0


@pytest.mark.parametrize("has_vanished", [True, False])
async def test_who_is_hung_up_on_is_not_heard_any_more(has_vanished: bool, stage: Stage, handlers: Handlers) -> None:
    peer = await stage.connected()
    peer.send("SEND", {"destination": "/app/slow"}, "a")
    peer.send("SEND", {"destination": "/app/sync"}, "b")
    await settle()
    session_id = next(iter(stage.hub)).id
    if has_vanished:
        peer.connection.closed()
    stage.gateway.kick(session_id)
    await settle()

    assert (handlers.calls, handlers.ended) == (["slow a"], ["a"])
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0
    assert len(stage.gateway._transports) == int(not has_vanished)


async def test_no_more_is_read_of_who_does_not_wait_until_all_is_done() -> None:
    routes, was_reading = DestinationRoutes(), []

    @routes.message("/app/look")
    async def look(message: AppMessage) -> None:
        await asyncio.sleep(0)
        was_reading.append(peer.transport.reading)

    peer = await Stage(routes=routes).connected()
    for _ in range(5):
        peer.send("SEND", {"destination": "/app/look"})
    await settle()

    assert was_reading == [False] * 5
    assert peer.transport.reading


async def test_client_that_vanishes_while_it_is_let_in_leaves_nothing_behind(stage: Stage) -> None:
    peer = stage.peer()

    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    peer.connection.closed()
    await settle()

    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0


async def test_client_that_vanishes_in_a_replay_leaves_nothing_behind(stage: Stage) -> None:
    for _ in range(5):
        await stage.push("alice")
    peer = await stage.connected()
    peer.transport.room.clear()
    peer.send("SUBSCRIBE", {"id": "s", "destination": "/user/queue/msg"})
    await settle()

    peer.connection.closed()
    peer.transport.room.set()
    await settle()

    assert peer.frames() == []
    assert len(stage.gateway._tasks) == len(stage.hub) == stage.acks.open_records == 0


async def test_end_is_told_once_however_often_it_comes(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app")
    peer = await stage.connected()
    session_id = next(iter(stage.hub)).id

    assert stage.gateway.kick(session_id)
    peer.connection.closed()
    peer.connection.closed()
    await stage.gateway.aclose()

    assert peer.close_code == 4503
    assert len(stage.disconnects) == 1
    assert sum(" closed: " in record.getMessage() for record in caplog.records) == 1
    assert not stage.gateway.kick(session_id)
    assert not stage.gateway.kick("")


async def test_kick_does_not_hit_connections_without_a_session(stage: Stage) -> None:
    peer = stage.peer()

    assert not stage.gateway.kick("")
    assert not peer.over


async def test_closing_gateway_tells_everybody_to_come_back(stage: Stage, handlers: Handlers) -> None:
    busy, idle, new = await stage.connected("a"), await stage.connected("b"), stage.peer()
    busy.send("SEND", {"destination": "/app/slow"}, "x")
    await settle()

    await stage.gateway.aclose()

    assert [peer.close_code for peer in (busy, idle, new)] == [1012, 1012, 1012]
    assert handlers.ended == ["x"]
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0


# Destinations


@pytest.mark.parametrize(
    "destination", ["/user/bob/queue/msg", "/user/alice/queue/msg", "/user/queue/other", "/user/", "/user/queue/msg/"]
)
async def test_user_queues_but_the_own_two_are_refused(destination: str, stage: Stage) -> None:
    peer = await stage.connected()

    (error,) = await peer.talk("SUBSCRIBE", {"id": "s", "destination": destination, "receipt": "r"})

    assert (error.command, error.headers["receipt-id"]) == ("ERROR", "r")
    assert peer.close_code == 4507
    assert len(stage.hub) == 0


@pytest.mark.parametrize(
    "destination", ["/queue/a", "/app/ack", "/topic/", "/topic", "a", "/topic/" + "a" * 300, "*", "/topic//topic/news"]
)
async def test_other_destinations_have_no_subscribers(destination: str, stage: Stage) -> None:
    peer = await stage.connected()

    (error,) = await peer.talk("SUBSCRIBE", {"id": "s", "destination": destination})

    assert error.command == "ERROR"
    assert peer.close_code == 4501


@pytest.mark.parametrize("command", ["SUBSCRIBE", "SEND"])
@pytest.mark.parametrize("name", ["*", "**", "#", ">", "a/*", "a.*.b", "a/**", "a.#", "a.>"])
async def test_wildcards_are_refused_rather_than_never_served(command: str, name: str, stage: Stage) -> None:
    peer = await stage.connected()

    (error,) = await peer.talk(command, {"id": "s", "destination": f"/topic/{name}", "receipt": "r"})

    assert (error.command, error.headers["receipt-id"]) == ("ERROR", "r")
    assert b"exact topics only" in error.body
    assert peer.close_code == 4501
    assert len(stage.hub) == 0


@pytest.mark.parametrize("destination", ["/user/bob/queue/msg", "/user/queue/msg", ERRORS, "/user/"])
async def test_nobody_sends_to_user_queues(destination: str, stage: Stage) -> None:
    bob, alice = await stage.connected("bob"), await stage.connected()
    await bob.subscribe("/user/queue/msg")

    (error,) = await alice.talk("SEND", {"destination": destination}, "boo")

    assert error.command == "ERROR"
    assert alice.close_code == 4507
    assert bob.frames() == []


@pytest.mark.parametrize("destination", ["/queue/a", "/topic", "/topic/", "app/sync", "/topic/" + "a" * 300])
async def test_nobody_sends_to_destinations_that_do_not_exist(destination: str, stage: Stage) -> None:
    peer = await stage.connected()

    (error,) = await peer.talk("SEND", {"destination": destination})

    assert error.command == "ERROR"
    assert peer.close_code == 4501


async def test_topic_takes_what_clients_send_where_it_is_allowed(stage: Stage) -> None:
    alice, bob = await stage.connected(), await stage.connected("bob")
    await alice.subscribe("/topic/a")
    await bob.subscribe("/topic/a", "b")
    await bob.subscribe("/topic/A", "other")

    (own,) = await alice.talk("SEND", {"destination": "/topic/a", "content-type": "text/html"}, "<b>")

    (got,) = bob.frames()
    assert (got.body, got.headers["content-type"], got.headers["subscription"]) == (b"<b>", "text/html", "b")
    assert own.headers["message-id"] == got.headers["message-id"]
    assert alice.transport.binary == bob.transport.binary == []


async def test_topic_takes_nothing_where_it_is_not_allowed() -> None:
    stage = Stage(allow_topic_send=False)
    alice, bob = await stage.connected(), await stage.connected("bob")
    for topic in ("/topic/a", "/topic/messages"):
        await bob.subscribe(topic, topic)

    assert await alice.talk("SEND", {"destination": "/app/sendMessage"}, "yes") == []
    assert [frame.body for frame in bob.frames()] == [b"yes"]

    assert [frame.command for frame in await alice.talk("SEND", {"destination": "/topic/a"}, "no")] == ["ERROR"]
    assert alice.close_code == 4507
    assert bob.frames() == []


async def test_body_that_is_not_utf8_goes_out_in_a_binary_message(stage: Stage) -> None:
    peer = await stage.connected()
    await peer.subscribe("/topic/messages")
    body = b"\x00\xff\x00" * 3
    peer.transport.binary.clear()

    for destination in ("/topic/messages", "/app/sendMessage"):
        (got,) = await peer.talk("SEND", {"destination": destination, "content-length": "9"}, body)
        assert got.body == body
        assert got.headers["content-type"] == "application/octet-stream"

    assert len(peer.transport.binary) == 2


async def test_text_with_a_nul_arrives_whole_and_as_text(stage: Stage) -> None:
    peer = await stage.connected()
    await peer.subscribe("/topic/messages")

    (got,) = await peer.talk("SEND", {"destination": "/app/sendMessage", "content-length": "3"}, b"a\0b")

    assert got.body == b"a\0b"
    assert got.headers["content-type"] == "text/plain;charset=utf-8"
    assert peer.transport.binary == []


async def test_frame_for_an_old_client_can_be_written_whatever_the_sender_said(stage: Stage) -> None:
    old = stage.peer(Version.V10)
    await old.connect()
    await old.subscribe("/topic/a:b\\c")
    new = await stage.connected("bob")

    await new.talk("SEND", {"destination": "/topic/a:b\\c", "content-type": "x:y\\z"}, "hi")

    (got,) = old.frames()
    assert (got.headers["destination"], got.headers["content-type"], got.body) == ("/topic/a:b\\c", "x:y\\z", b"hi")


async def test_unsubscribed_client_gets_nothing_more(stage: Stage) -> None:
    peer = await stage.connected()
    await peer.subscribe("/topic/a", "1")
    await peer.subscribe("/topic/a", "2")

    await peer.talk("UNSUBSCRIBE", {"id": "1"})

    frames = await peer.talk("SEND", {"destination": "/topic/a"}, "x")
    assert [frame.headers["subscription"] for frame in frames] == ["2"]


# Soft errors

SOFT: list[tuple[str, dict[str, str], bytes, str]] = [
    ("SEND", {"destination": "/app/nobody"}, b"", "/app/nobody"),
    ("SEND", {"destination": "/app/"}, b"", "/app/"),
    ("SEND", {"destination": "/app/rejects"}, b"", "not this"),
    ("SEND", {"destination": "/app/rejects-later"}, b"", "not this either"),
    ("SEND", {"destination": "/app/sync"}, b"\xff", "UTF-8"),
    ("SEND", {"destination": "/app/json"}, b"NaN", "JSON"),
    ("SEND", {"destination": "/app/ack"}, b"", "id"),
    ("SEND", {"destination": "/app/ack"}, b"\xff\xfe", "UTF-8"),
    ("SEND", {"destination": "/app/ack"}, b"a b", "id"),
    ("SEND", {"destination": "/app/ack"}, b"[1]", "id"),
    ("SEND", {"destination": "/app/ack"}, b'["a", null]', "id"),
    ("SEND", {"destination": "/app/ack"}, b"[", "JSON"),
    ("SEND", {"destination": "/app/ack"}, b"[" * 5000, "JSON"),
    ("SEND", {"destination": "/app/ack"}, json.dumps(["a"] * 1001).encode(), "1001"),
    ("UNSUBSCRIBE", {"id": "nope"}, b"", "subscription"),
]


@pytest.mark.parametrize(("command", "headers", "body", "words"), SOFT)
async def test_soft_error_is_told_on_the_error_queue_and_the_session_goes_on(
    command: str, headers: dict[str, str], body: bytes, words: str, stage: Stage, handlers: Handlers
) -> None:
    peer = await stage.connected()
    await peer.subscribe(ERRORS, "e")

    (silent,) = await peer.talk(command, headers, body)
    (asking,) = await peer.talk(command, headers | {"receipt": "r"}, body)

    for told in (silent, asking):
        assert told.command == "MESSAGE"
        assert (told.headers["destination"], told.headers["subscription"]) == (ERRORS, "e")
        assert told.headers["content-type"] == "application/json"
        assert words in json.loads(told.body)["detail"]
    assert "receipt" not in json.loads(silent.body)
    assert json.loads(asking.body)["receipt"] == "r"
    assert (await peer.talk("SEND", {"destination": "/app/sync", "receipt": "ok"}, "on"))[0].command == "RECEIPT"


@pytest.mark.parametrize(("command", "headers", "body", "words"), SOFT)
async def test_soft_error_without_the_error_queue_is_an_error_where_a_receipt_waits(
    command: str, headers: dict[str, str], body: bytes, words: str, stage: Stage
) -> None:
    peer = await stage.connected()

    assert await peer.talk(command, headers, body) == []
    assert not peer.over
    (error,) = await peer.talk(command, headers | {"receipt": "r"}, body)

    assert (error.command, error.headers["receipt-id"]) == ("ERROR", "r")
    assert words in error.body.decode()
    assert peer.close_code == 4501


async def test_error_queue_is_nobody_elses(stage: Stage) -> None:
    alice, twin, bob = await stage.connected(), await stage.connected(), await stage.connected("bob")
    for peer in (alice, twin, bob):
        await peer.subscribe(ERRORS)

    assert len(await alice.talk("SEND", {"destination": "/app/nobody"})) == 1
    assert twin.frames() == bob.frames() == []


@pytest.mark.parametrize("destination", ["/app/breaks", "/app/breaks-later", "/app/cancelled"])
async def test_defect_of_a_handler_does_not_end_the_session(
    destination: str, stage: Stage, handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await stage.connected()
    await peer.subscribe(ERRORS)

    (told,) = await peer.talk("SEND", {"destination": destination, "receipt": "r"}, "secret body")

    assert "secret" not in told.body.decode()
    assert json.loads(told.body)["receipt"] == "r"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "secret body" not in caplog.text
    assert peer.transport.reading
    assert len(await peer.talk("SEND", {"destination": "/app/sync", "receipt": "on"}, "x")) == 1
    assert handlers.calls == ["alice x"]


# Private messages


async def test_what_waited_comes_with_the_subscription_and_new_ones_after_it(stage: Stage) -> None:
    first = await stage.push("alice", 1)
    peer = await stage.connected()
    second = await stage.push("alice", 2)

    frames = await peer.talk("SUBSCRIBE", {"id": "s", "destination": "/user/queue/msg"})
    third = await stage.push("alice", 3)

    assert [frame.headers["message-id"] for frame in frames + peer.frames()] == [first, second, third]
    assert peer.transport.binary == []


async def test_acknowledging_twice_or_what_is_unknown_does_no_harm(stage: Stage) -> None:
    peer = await stage.connected()
    await peer.subscribe("/user/queue/msg")
    ids = [await stage.push("alice") for _ in range(3)]
    peer.frames()

    for body in (ids[0], ids[0], json.dumps(ids[1]), json.dumps(ids), f"  {ids[2]}\n", "unknown", "[]"):
        assert await peer.talk("SEND", {"destination": "/app/ack"}, body) == []

    assert stage.acks.open_records == 0
    assert not peer.over


async def test_nobody_acknowledges_for_others(stage: Stage) -> None:
    bob, alice = await stage.connected("bob"), await stage.connected()
    await bob.subscribe("/user/queue/msg")
    message_id = await stage.push("bob")

    await alice.talk("SEND", {"destination": "/app/ack"}, message_id)
    await alice.talk("ACK", {"id": f"{message_id}/sub-0"})

    assert stage.acks.open_records == 1
