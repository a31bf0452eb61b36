"""CONNECT: who gets in, and how the others are told."""

import asyncio
import logging

import pytest

from app.auth.ports import Identity
from app.errors import Unavailable
from app.gateway.admission import token_of
from app.stomp.events import Connect
from app.stomp.frames import Version
from tests.fakes import FakeAuthenticator
from tests.gateway.conversation import Peer, Stage, settle


class SlowAuthenticator(FakeAuthenticator):
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()

    async def authenticate(self, token: str) -> Identity:
        self.asked += 1
        await self.gate.wait()
        return await super().authenticate(token)


class BrokenAuthenticator:
    async def authenticate(self, token: str) -> Identity:
        raise RuntimeError("no such table: users")


class UnreachableAuthenticator:
    async def authenticate(self, token: str) -> Identity:
        raise Unavailable("the identity provider does not answer")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer alice"},
        {"Authorization": "bearer alice"},
        {"Authorization": "alice"},
        {"authorization": "Bearer alice"},
        {"passcode": "alice"},
        {"login": "somebody", "passcode": "alice"},
        {"Authorization": "Bearer alice", "login": "", "passcode": ""},
        {"Authorization": "Bearer alice", "login": "bob", "passcode": "bob"},
        {"Authorization": "", "passcode": "alice"},
    ],
)
async def test_token_is_taken_from_where_clients_put_it(headers: dict[str, str]) -> None:
    peer = Stage().peer()

    (connected,) = await peer.talk("CONNECT", {"accept-version": "1.2"} | headers)

    assert connected.headers["user-name"] == "alice"
    assert not peer.over


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer bad"},
        {"Authorization": "bad"},
        {"passcode": "bad"},
        {"Authorization": "Bearer bad", "passcode": "alice"},
        {},
        {"login": "", "passcode": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer", "passcode": "alice"},
        {"Authorization": "   "},
        {"login": "alice"},
    ],
)
async def test_wrong_or_missing_token_is_an_error_and_the_end(headers: dict[str, str]) -> None:
    stage = Stage()
    peer = stage.peer()

    (error,) = await peer.talk("CONNECT", {"accept-version": "1.2"} | headers)

    assert (error.command, error.headers["message"]) == ("ERROR", "The token is illegal")
    assert peer.close_code == 4510
    assert len(stage.gateway) == len(stage.hub) == 0


def test_token_never_reaches_the_error() -> None:
    assert token_of(Connect({"Authorization": "Bearer  a.b.c "})) == "a.b.c"


async def test_connected_tells_all_that_a_client_needs() -> None:
    stage = Stage(server="stomp-notify/7")
    peer = stage.peer()

    connected = await peer.connect("zoë:1\\", **{"heart-beat": "1000,2000"})

    assert dict(connected.headers) == {
        "version": "1.2",
        "session": next(iter(stage.hub)).id,
        "server": "stomp-notify/7",
        "heart-beat": "10000,10000",
        "user-name": "zoë:1\\",
    }
    assert peer.transport.binary == []


@pytest.mark.parametrize(
    ("offered", "agreed"), [("1.2", "1.2"), ("1.0,1.1", "1.1"), ("1.0", "1.0"), ("2.0,1.1", "1.1"), (None, "1.0")]
)
async def test_highest_common_version_is_spoken(offered: str | None, agreed: str) -> None:
    peer = Stage().peer()

    headers = {"passcode": "alice"} | ({"accept-version": offered} if offered else {})
    (connected,) = await peer.talk("CONNECT", headers)

    assert connected.headers["version"] == agreed


async def test_version_that_nobody_speaks_is_refused_with_those_that_are_spoken() -> None:
    peer = Stage().peer()

    (error,) = await peer.talk("STOMP", {"accept-version": "3.0", "passcode": "alice", "receipt": "r"})

    assert (error.headers["version"], error.headers["receipt-id"]) == ("1.0,1.1,1.2", "r")
    assert peer.close_code == 4501


async def test_eleventh_session_of_a_user_is_refused() -> None:
    stage = Stage()
    peers = [await stage.connected() for _ in range(10)]
    eleventh = stage.peer()

    (error,) = await eleventh.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})

    assert (error.command, error.headers["message"]) == ("ERROR", "The user connect stomp exceed max limit")
    assert eleventh.close_code == 4504
    assert not any(peer.over for peer in peers)

    await stage.connected("bob")
    peers[0].connection.closed()
    await stage.connected()


async def test_sessions_are_counted_when_the_authenticator_has_answered() -> None:
    authenticator = SlowAuthenticator()
    stage = Stage(authenticator=authenticator, max_sessions_per_user=2)
    peers = [stage.peer() for _ in range(5)]
    for peer in peers:
        peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    await settle()

    authenticator.gate.set()
    await settle()

    assert [peer.close_code for peer in peers] == [None, None, 4504, 4504, 4504]


async def test_frames_behind_a_slow_authenticator_keep_their_order() -> None:
    authenticator = SlowAuthenticator()
    stage = Stage(authenticator=authenticator)
    peer = stage.peer()
    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    for number in range(5):
        peer.send("SUBSCRIBE", {"id": str(number), "destination": "/topic/a", "receipt": f"s{number}"})
        peer.send("SEND", {"destination": "/topic/a", "receipt": f"r{number}"}, f"{number}")
    peer.send("DISCONNECT", {"receipt": "bye"})
    await settle()
    assert peer.frames() == []
    assert not peer.transport.reading

    authenticator.gate.set()
    await settle()

    frames = peer.frames()
    assert frames[0].command == "CONNECTED"
    receipts = [frame.headers["receipt-id"] for frame in frames if frame.command == "RECEIPT"]
    assert receipts == ["s0", "r0", "s1", "r1", "s2", "r2", "s3", "r3", "s4", "r4", "bye"]
    assert [frame.body for frame in frames if frame.command == "MESSAGE"] == [
        str(number).encode() for number in range(5) for _ in range(number + 1)
    ]
    assert peer.close_code == 1000


async def test_client_that_does_not_wait_for_the_authenticator_is_not_read_meanwhile() -> None:
    authenticator = SlowAuthenticator()
    peer = Stage(authenticator=authenticator).peer()
    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    assert peer.transport.reading
    peer.send("SEND", {"destination": "/topic/a"})
    assert not peer.transport.reading

    authenticator.gate.set()
    await settle()

    assert peer.transport.reading


async def test_client_that_vanishes_while_the_authenticator_runs_leaves_nothing_behind() -> None:
    authenticator = SlowAuthenticator()
    stage = Stage(authenticator=authenticator)
    peer = stage.peer()
    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    await settle()

    peer.connection.closed()
    authenticator.gate.set()
    await settle()

    assert authenticator.asked == 1
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0
    assert peer.frames() == []


async def test_client_that_vanishes_before_the_authenticator_was_even_asked_leaves_nothing_behind() -> None:
    stage = Stage()
    peer = stage.peer()

    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    peer.connection.closed()
    await settle()

    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0


async def test_gateway_that_closes_while_a_connect_has_just_come_leaves_nothing_behind() -> None:
    stage = Stage()
    peer = stage.peer()
    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})

    await stage.gateway.aclose()

    assert peer.close_code == 1012
    assert len(stage.gateway) == len(stage.hub) == len(stage.gateway._tasks) == 0


async def test_defect_of_the_authenticator_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(authenticator=BrokenAuthenticator())
    peer = stage.peer()

    (error,) = await peer.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})

    assert error.command == "ERROR"
    assert "table" not in error.body.decode()
    assert peer.close_code == 1011
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


async def test_identity_provider_out_of_reach_is_a_reason_to_come_back() -> None:
    peer = Stage(authenticator=UnreachableAuthenticator()).peer()

    (error,) = await peer.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})

    assert error.command == "ERROR"
    assert peer.close_code == 1013


@pytest.mark.parametrize(
    "data",
    [
        b"SEND\ndestination:/topic/a\n\n\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"\0",
        b"CONNECT\n\0",
        b"CONNECT\naccept-version:1.2\n\nbody\0",
        b"CONNECT\naccept-version:1.2\nheart-beat:a,b\n\n\0",
        b"CONNECT\nContent-Length\n\n\0",
        b"CONNECT\n\xff:\xfe\n\n\0",
    ],
)
async def test_first_frame_that_is_no_connect_is_one_error_and_the_end(data: bytes) -> None:
    stage = Stage()
    peer = stage.peer()

    peer.connection.receive(data)
    peer.connection.receive(b"CONNECT\naccept-version:1.2\npasscode:alice\n\n\0")
    await settle()

    assert peer.commands() == ["ERROR"]
    assert peer.close_code == 4501
    assert len(stage.gateway) == len(stage.hub) == 0


async def test_connect_frame_over_its_limit_would_be_so_again() -> None:
    peer = Stage().peer()

    peer.connection.receive(b"CONNECT\naccept-version:1.2\n")
    for _ in range(20):
        peer.connection.receive(b"x:" + b"a" * 4000 + b"\n")

    error = peer.frame()
    assert (error.command, error.headers["message"]) == ("ERROR", "frame too large")
    assert peer.close_code == 4501


@pytest.mark.parametrize("head", ["x:" + "a" * 9000 + "\n", "x:y\n" * 100])
async def test_connect_headers_over_a_limit_would_be_so_again(head: str) -> None:
    peer = Stage().peer()

    peer.connection.receive(f"CONNECT\naccept-version:1.2\n{head}\n\0".encode())

    assert peer.frame().headers["message"] == "frame too large"
    assert peer.close_code == 4501


async def test_second_connect_ends_the_session() -> None:
    stage = Stage()
    peer = await stage.connected()

    (error,) = await peer.talk("CONNECT", {"accept-version": "1.2", "passcode": "bob"})

    assert error.headers["message"] == "already connected"
    assert peer.close_code == 4501
    assert len(stage.hub) == 0


async def test_every_way_of_cutting_the_bytes_gives_the_same_conversation() -> None:
    data = b"STOMP\naccept-version:1.1\nAuthorization:Bearer alice\n\n\0\n\nSUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0"
    data += b"SEND\ndestination:/app/sendMessage\nreceipt:r1\n\nhi\0DISCONNECT\nreceipt:r2\n\n\0"

    async def answers(size: int) -> list[tuple[str, bytes]]:
        peer = Peer(Stage().gateway, Version.V11)
        for start in range(0, len(data), size):
            peer.connection.receive(data[start : start + size])
        await settle()
        return [(frame.command, frame.headers.get("receipt-id", "").encode()) for frame in peer.frames()]

    whole = await answers(len(data))
    assert whole == [("CONNECTED", b""), ("RECEIPT", b"r1"), ("RECEIPT", b"r2")]
    for size in (1, 2, 3, 7, 50):
        assert await answers(size) == whole
