"""STOMP: "Connecting" and "Heart-beating" of the STOMP specifications."""

import pytest

from app.stomp.events import (
    Connect,
    Disconnect,
    Send,
)
from app.stomp.frames import Frame, Version
from app.stomp.heartbeat import Heartbeat
from app.stomp.session import OPEN_COMMANDS, State
from tests.stomp.sessions import EVERY_VERSION, SINCE_1_1, as_client, new_session, open_session, receive, refusal

# "Connecting"


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_a_client_connects_sends_and_leaves(command: str) -> None:
    session = new_session()
    assert receive(session, f"{command}\naccept-version:1.2\nhost:h\n\n\0") == [
        Connect({"accept-version": "1.2", "host": "h"})
    ]
    assert session.accept(session_id="s1", user="ann") == (
        b"CONNECTED\nversion:1.2\nsession:s1\nserver:notify/1\nheart-beat:10000,10000\nuser-name:ann\n\n\0"
    )

    assert receive(session, "SEND\ndestination:/app/ack\n\nid\0") == [
        Send("/app/ack", {"destination": "/app/ack"}, b"id")
    ]
    assert receive(session, "DISCONNECT\nreceipt:77\n\n\0") == [Disconnect("77")]
    assert session.receipt("77") == b"RECEIPT\nreceipt-id:77\n\n\0"
    assert session.state is State.CLOSED


@pytest.mark.parametrize(
    ("accept_version", "version"),
    [
        ("1.0", Version.V10),
        ("1.1", Version.V11),
        ("1.2", Version.V12),
        ("1.0,1.1,2.0", Version.V11),
        ("1.2,1.1,1.0", Version.V12),
        ("1.0, 1.1 ", Version.V11),
        ("1.1,1.1", Version.V11),
    ],
)
def test_highest_common_version_is_negotiated(accept_version: str, version: Version) -> None:
    # "Protocol Negotiation"
    session = new_session()
    receive(session, f"CONNECT\naccept-version:{accept_version}\n\n\0")
    assert session.version is version
    assert as_client(session.accept(session_id="s1", user="ann")).headers["version"] == version


def test_a_client_that_names_no_version_speaks_1_0() -> None:
    session = new_session()
    assert receive(session, "CONNECT\n\n\0") == [Connect({})]
    assert session.version is Version.V10


@pytest.mark.parametrize("accept_version", ["", "2.0", "1", "1.20", "1.3,2.1", "1.1;1.2"])
def test_without_common_version_the_error_lists_the_supported_ones(accept_version: str) -> None:
    session = new_session()
    error = refusal(session, f"CONNECT\naccept-version:{accept_version}\n\n\0")
    assert error.message == "unsupported version"
    assert error.headers == {"version": "1.0,1.1,1.2"}
    frame = as_client(session.error(error.message, error.detail, headers=error.headers))
    assert frame.headers["version"] == "1.0,1.1,1.2"
    assert repr(accept_version).encode() in frame.body


def test_a_long_accept_version_is_quoted_only_in_part() -> None:
    assert len(refusal(new_session(), f"CONNECT\naccept-version:{'1' * 8000}\n\n\0").detail) < 200


@pytest.mark.parametrize("command", [*OPEN_COMMANDS, "DISCONNECT", "CONNECTED", "connect", "GET / HTTP/1.1"])
def test_the_first_frame_must_be_connect(command: str) -> None:
    error = refusal(new_session(), f"{command}\ndestination:/a\nid:1\nreceipt:r\n\n\0")
    assert error.message == "not connected"
    assert command in error.detail
    assert error.receipt_id == "r"


def test_a_byte_order_mark_before_connect_is_refused() -> None:
    assert refusal(new_session(), "\ufeffCONNECT\n\n\0").message == "not connected"


def test_heartbeats_before_connect_are_ignored() -> None:
    assert receive(new_session(), "\n\r\n\nCONNECT\n\n\0") == [Connect({})]


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_the_headers_of_connect_are_not_unescaped(version: str) -> None:
    # 1.2, "Value Encoding"
    wire = f"CONNECT\naccept-version:{version}\npasscode:a\\nb\\t:c\n\n\0"
    assert receive(new_session(), wire) == [Connect({"accept-version": version, "passcode": "a\\nb\\t:c"})]


def test_a_1_0_connect_may_be_padded() -> None:
    # 1.0 shows "login: <username>"
    session = new_session()
    assert receive(session, "CONNECT\nlogin: ann \n passcode : s e\npasscode:2\n\n\0") == [
        Connect({"login": "ann", "passcode": "s e"})
    ]


@pytest.mark.parametrize("version", SINCE_1_1)
def test_a_later_connect_is_not_trimmed(version: str) -> None:
    assert receive(new_session(), f"CONNECT\naccept-version:{version}\npasscode: s \n\n\0") == [
        Connect({"accept-version": version, "passcode": " s "})
    ]


def test_a_connect_with_content_length_0_is_fine() -> None:
    assert receive(new_session(), "CONNECT\naccept-version:1.2\ncontent-length:0\n\n\0") == [
        Connect({"accept-version": "1.2", "content-length": "0"})
    ]


def test_frames_behind_connect_wait_until_it_is_accepted() -> None:
    session = new_session()
    pipelined = "SEND\ndestination:/a\\c\n\n\0"
    assert receive(session, "CONNECT\naccept-version:1.1\n\n\0" + pipelined) == [Connect({"accept-version": "1.1"})]
    assert session.buffered == len(pipelined)
    assert receive(session, pipelined) == []
    session.accept(session_id="s1", user="ann")
    assert receive(session, b"") == [Send("/a:", {"destination": "/a:"}, b"")] * 2
    assert session.buffered == 0


def test_frames_of_a_refused_client_are_ignored() -> None:
    session = new_session()
    receive(session, "CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/a\n\n\0")
    assert as_client(session.error("The token is illegal", "expired")) == Frame(
        "ERROR",
        {"message": "The token is illegal", "content-type": "text/plain;charset=utf-8", "content-length": "7"},
        b"expired",
    )
    assert session.state is State.CLOSED
    assert receive(session, "SEND\ndestination:/a\n\n\0") == []


@pytest.mark.parametrize("connected", [False, True])
def test_accept_is_only_possible_after_connect(connected: bool) -> None:
    session = open_session() if connected else new_session()
    with pytest.raises(AssertionError):
        session.accept(session_id="s1", user="ann")


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_second_connect_is_fatal(command: str, version: str) -> None:
    error = refusal(open_session(version), f"{command}\naccept-version:1.2\nreceipt:r\n\n\0")
    assert error.message == "already connected"
    assert error.receipt_id == "r"


# "Heart-beating"


@pytest.mark.parametrize(
    ("header", "agreed"),
    [
        ("", Heartbeat(0, 0)),
        ("heart-beat:0,0\n", Heartbeat(0, 0)),
        ("heart-beat:20000,5000\n", Heartbeat(10_000, 30_000)),
    ],
)
@pytest.mark.parametrize("version", SINCE_1_1)
def test_connect_negotiates_heartbeats(version: str, header: str, agreed: Heartbeat) -> None:
    session = new_session(heartbeat=Heartbeat(send_ms=10_000, receive_ms=30_000))
    receive(session, f"CONNECT\naccept-version:{version}\n{header}\n\0")
    assert session.heartbeat == agreed
    assert as_client(session.accept(session_id="s1", user="ann")).headers["heart-beat"] == "10000,30000"


def test_invalid_heartbeat_header_is_refused_in_the_negotiated_version() -> None:
    session = new_session()
    error = refusal(session, "CONNECT\naccept-version:1.2\nheart-beat:often\nreceipt:a\\:b\n\n\0")
    assert error.message == "bad heart-beat"
    assert as_client(session.error("no", "", receipt_id=error.receipt_id)).headers["receipt-id"] == "a\\:b"


def test_1_0_has_no_heartbeats() -> None:
    session = new_session()
    receive(session, "CONNECT\nheart-beat:often\n\n\0")
    assert session.heartbeat == Heartbeat(0, 0)


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_heartbeats_are_no_events(version: str) -> None:
    assert receive(open_session(version), "\n", "\n\n") == []
