"""The server's side of conversations. Sections are those of the STOMP specifications."""

import sys
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.stomp.errors import FrameTooLarge, ProtocolError
from app.stomp.events import (
    Ack,
    Commit,
    Connect,
    Disconnect,
    Event,
    Nack,
    Noted,
    Send,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from app.stomp.frames import AckMode, Frame, FrameLimits, Version
from app.stomp.heartbeat import Heartbeat
from app.stomp.parser import FrameParser
from app.stomp.session import OPEN_COMMANDS, TRANSITIONS, ServerSession, SessionLimits, State, ack_id

EVERY_VERSION = ("1.0", "1.1", "1.2")
SINCE_1_1 = ("1.1", "1.2")


def new_session(limits: SessionLimits | None = None, heartbeat: Heartbeat | None = None) -> ServerSession:
    return ServerSession(limits or SessionLimits(), heartbeat=heartbeat or Heartbeat(10_000, 10_000), server="notify/1")


def receive(session: ServerSession, *data: str | bytes) -> list[Event]:
    events: list[Event] = []
    for piece in data:
        session.receive_data(piece.encode() if isinstance(piece, str) else piece)
        while (event := session.next_event()) is not None:
            events.append(event)
    return events


def open_session(version: str = "1.2", limits: SessionLimits | None = None) -> ServerSession:
    session = new_session(limits)
    receive(session, f"CONNECT\naccept-version:{version}\nhost:h\n\n\0")
    session.accept(session_id="s1", user="ann")
    return session


def refusal(session: ServerSession, *data: str | bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        receive(session, *data)
    assert session.state is State.CLOSED
    return caught.value


def command_of(frame: str) -> str:
    return frame.partition("\n")[0]


def as_client(data: bytes, version: str = "1.2") -> Frame:
    parser = FrameParser(FrameLimits())
    parser.version = Version(version)
    parser.feed(data)
    frame = parser.next_frame()
    assert frame is not None
    assert parser.buffered == 0
    return frame


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
def test_the_highest_common_version_is_spoken(accept_version: str, version: Version) -> None:
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
def test_no_common_version_is_answered_with_the_supported_ones(accept_version: str) -> None:
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


def test_a_client_may_beat_before_it_connects() -> None:
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


def test_a_client_that_is_not_accepted_is_heard_no_more() -> None:
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
def test_accept_answers_a_connect_and_nothing_else(connected: bool) -> None:
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
def test_heartbeats_are_agreed_on_while_connecting(version: str, header: str, agreed: Heartbeat) -> None:
    session = new_session(heartbeat=Heartbeat(send_ms=10_000, receive_ms=30_000))
    receive(session, f"CONNECT\naccept-version:{version}\n{header}\n\0")
    assert session.heartbeat == agreed
    assert as_client(session.accept(session_id="s1", user="ann")).headers["heart-beat"] == "10000,30000"


def test_a_bad_heartbeat_header_is_refused_in_the_version_agreed_on() -> None:
    session = new_session()
    error = refusal(session, "CONNECT\naccept-version:1.2\nheart-beat:often\nreceipt:a\\:b\n\n\0")
    assert error.message == "bad heart-beat"
    assert as_client(session.error("no", "", receipt_id=error.receipt_id)).headers["receipt-id"] == "a\\:b"


def test_1_0_knows_no_heartbeats() -> None:
    session = new_session()
    receive(session, "CONNECT\nheart-beat:often\n\n\0")
    assert session.heartbeat == Heartbeat(0, 0)


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_heartbeats_are_no_events(version: str) -> None:
    assert receive(open_session(version), "\n", "\n\n") == []


# "SEND"


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_send_has_all_its_headers_and_its_body(version: str) -> None:
    wire = b"SEND\ndestination:/topic/a\nreceipt:r1\nx:y\ncontent-length:3\n\na\0b\0"
    headers = {"destination": "/topic/a", "receipt": "r1", "x": "y", "content-length": "3"}
    assert receive(open_session(version), wire) == [Send("/topic/a", headers, b"a\0b", "r1")]


@pytest.mark.parametrize(("version", "destination"), [("1.0", "/a\\c\\n"), ("1.1", "/a:\n"), ("1.2", "/a:\n")])
def test_headers_are_unescaped_as_the_version_says(version: str, destination: str) -> None:
    assert receive(open_session(version), "SEND\ndestination:/a\\c\\n\n\n\0") == [
        Send(destination, {"destination": destination}, b"")
    ]


def test_only_1_2_ends_lines_with_crlf() -> None:
    wire = "SEND\r\ndestination:/a\r\n\r\nx\0"
    assert receive(open_session("1.2"), wire) == [Send("/a", {"destination": "/a"}, b"x")]
    assert refusal(open_session("1.1"), wire).message == "malformed frame"
    assert refusal(open_session("1.0"), wire).message == "malformed frame"


def test_events_come_in_the_order_of_the_frames() -> None:
    assert [
        type(event)
        for event in receive(
            open_session(),
            "SEND\ndestination:/a\n\n\0SUBSCRIBE\nid:1\ndestination:/b\n\n\0\nUNSUBSCRIBE\nid:1\n\n\0DISCONNECT\n\n\0",
        )
    ] == [Send, Subscribe, Unsubscribe, Disconnect]


# What every frame must have


@pytest.mark.parametrize(
    ("frame", "header", "versions"),
    [
        ("SEND\n", "destination", EVERY_VERSION),
        ("SUBSCRIBE\nid:1\n", "destination", EVERY_VERSION),
        ("SUBSCRIBE\ndestination:/a\n", "id", SINCE_1_1),
        ("UNSUBSCRIBE\n", "destination", ("1.0",)),
        ("UNSUBSCRIBE\ndestination:/a\n", "id", SINCE_1_1),
        ("ACK\nsubscription:1\nid:m\n", "message-id", ("1.0", "1.1")),
        ("ACK\nmessage-id:m\n", "subscription", ("1.1",)),
        ("ACK\nmessage-id:m\nsubscription:1\n", "id", ("1.2",)),
        ("NACK\nsubscription:1\nid:m\n", "message-id", ("1.1",)),
        ("NACK\nmessage-id:m\n", "subscription", ("1.1",)),
        ("NACK\nmessage-id:m\nsubscription:1\n", "id", ("1.2",)),
        ("BEGIN\n", "transaction", EVERY_VERSION),
        ("COMMIT\n", "transaction", EVERY_VERSION),
        ("ABORT\n", "transaction", EVERY_VERSION),
    ],
)
@pytest.mark.parametrize("filled", ["", "{}:\n"])
def test_a_missing_or_empty_header_is_fatal(frame: str, header: str, versions: tuple[str, ...], filled: str) -> None:
    for version in versions:
        error = refusal(open_session(version), f"{frame}{filled.format(header)}receipt:r\n\n\0")
        assert error.message == "missing header"
        assert error.detail == f"{command_of(frame)} needs the header {header!r}"
        assert error.receipt_id == "r"


FRAMES_WITHOUT_BODY = [
    "SUBSCRIBE\nid:1\ndestination:/b\nreceipt:r\n",
    "UNSUBSCRIBE\nid:0\nreceipt:r\n",
    "ACK\nid:m\nmessage-id:m\nsubscription:0\nreceipt:r\n",
    "BEGIN\ntransaction:u\nreceipt:r\n",
    "COMMIT\ntransaction:t\nreceipt:r\n",
    "ABORT\ntransaction:t\nreceipt:r\n",
    "DISCONNECT\nreceipt:r\n",
]


def busy_session(version: str) -> ServerSession:
    session = open_session(version)
    receive(session, "SUBSCRIBE\nid:0\ndestination:/a\n\n\0BEGIN\ntransaction:t\n\n\0")
    return session


@pytest.mark.parametrize("frame", FRAMES_WITHOUT_BODY)
@pytest.mark.parametrize("version", SINCE_1_1)
def test_only_send_may_have_a_body(version: str, frame: str) -> None:
    # 1.1 and 1.2, "Value Encoding" / "Body": "All other frames MUST NOT have a body."
    assert len(receive(busy_session(version), f"{frame}\n\0")) == 1
    error = refusal(busy_session(version), f"{frame}\nx\0")
    assert error.message == "malformed frame"
    assert error.detail == f"a {command_of(frame)} frame must not have a body"
    assert error.receipt_id == "r"


@pytest.mark.parametrize("frame", FRAMES_WITHOUT_BODY)
def test_1_0_ignores_a_body(frame: str) -> None:
    # 1.0: "The body of the SUBSCRIBE command is ignored."
    assert len(receive(busy_session("1.0"), f"{frame}\nx\0")) == 1


@pytest.mark.parametrize("version", SINCE_1_1)
def test_connect_may_not_have_a_body_from_1_1_on(version: str) -> None:
    assert receive(new_session(), "CONNECT\n\nx\0") == [Connect({})]
    assert refusal(new_session(), f"CONNECT\naccept-version:{version}\n\nx\0").message == "malformed frame"


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("command", ["MESSAGE", "RECEIPT", "ERROR", "CONNECTED", "send", "SEND ", "FOO"])
def test_another_command_is_fatal(version: str, command: str) -> None:
    error = refusal(open_session(version), f"{command}\ndestination:/a\nreceipt:r\n\n\0")
    assert error.message == "unknown command"
    assert repr(command) in error.detail
    assert error.receipt_id == "r"


def test_a_long_command_is_quoted_only_in_part() -> None:
    assert len(refusal(open_session(), f"{'X' * 8000}\n\n\0").detail) < 200
    assert len(refusal(new_session(), f"{'X' * 8000}\n\n\0").detail) < 200


# "SUBSCRIBE", "UNSUBSCRIBE"


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_client_subscribes_and_unsubscribes(version: str) -> None:
    session = open_session(version)
    subscription = Subscription("0", "/topic/a")
    assert receive(session, "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:r1\n\n\0") == [
        Subscribe(subscription, "r1")
    ]
    assert session.subscriptions == {"0": subscription}
    assert receive(session, "UNSUBSCRIBE\nid:0\nreceipt:r2\n\n\0") == [Unsubscribe(subscription, "r2")]
    assert session.subscriptions == {}


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_one_destination_may_be_subscribed_to_twice(version: str) -> None:
    session = open_session(version)
    receive(session, "SUBSCRIBE\nid:0\ndestination:/a\n\n\0SUBSCRIBE\nid:1\ndestination:/a\n\n\0")
    receive(session, "UNSUBSCRIBE\nid:0\n\n\0")
    assert session.subscriptions == {"1": Subscription("1", "/a")}


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_subscription_id_is_unique_while_it_lives(version: str) -> None:
    # "Within the same connection, different subscriptions MUST use different subscription identifiers."
    session = open_session(version)
    subscribe = "SUBSCRIBE\nid:0\ndestination:/a\nreceipt:r\n\n\0"
    receive(session, subscribe, "UNSUBSCRIBE\nid:0\n\n\0", subscribe)
    error = refusal(session, subscribe)
    assert error.message == "duplicate subscription"
    assert error.receipt_id == "r"


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_subscription_that_is_not_there_may_be_ended(version: str) -> None:
    assert receive(open_session(version), "UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0") == [Unsubscribe(None, "r")]


@pytest.mark.parametrize("header", ["", "id:\n", "id: \n"])
def test_a_1_0_subscription_without_id_goes_by_its_destination(header: str) -> None:
    session = open_session("1.0")
    subscription = Subscription(None, "/a")
    assert receive(session, f"SUBSCRIBE\ndestination: /a\n{header}\n\0") == [Subscribe(subscription)]
    assert session.subscriptions == {"/a": subscription}
    assert receive(session, f"UNSUBSCRIBE\ndestination: /a\n{header}\n\0") == [Unsubscribe(subscription)]


def test_1_0_may_end_a_subscription_with_an_id_by_its_destination() -> None:
    session = open_session("1.0")
    for headers in ("id:1\ndestination:/a", "id:2\ndestination:/b", "destination:/b", "id:3\ndestination:/b"):
        receive(session, f"SUBSCRIBE\n{headers}\n\n\0")

    ended = receive(session, *["UNSUBSCRIBE\ndestination:/b\n\n\0"] * 4)

    assert [event.subscription and event.subscription.id for event in ended if isinstance(event, Unsubscribe)] == [
        None,
        "2",
        "3",
        None,
    ]
    assert receive(session, "UNSUBSCRIBE\nid:7\ndestination:/a\n\n\0") == [Unsubscribe(Subscription("1", "/a"))]
    assert session.subscriptions == {}


def test_1_0_ends_the_subscription_of_the_id_where_both_are_named() -> None:
    session = open_session("1.0")
    receive(session, "SUBSCRIBE\ndestination:/a\n\n\0SUBSCRIBE\nid:1\ndestination:/a\n\n\0")
    assert receive(session, "UNSUBSCRIBE\nid:1\ndestination:/a\n\n\0") == [Unsubscribe(Subscription("1", "/a"))]


def test_1_0_ends_a_subscription_without_an_id_though_one_is_named() -> None:
    session = open_session("1.0")
    receive(session, "SUBSCRIBE\nid:1\ndestination:/a\n\n\0SUBSCRIBE\ndestination:/a\n\n\0")
    assert receive(session, "UNSUBSCRIBE\nid:7\ndestination:/a\n\n\0") == [Unsubscribe(Subscription(None, "/a"))]


def test_1_0_is_promised_no_heartbeats() -> None:
    session = new_session()
    receive(session, "CONNECT\nheart-beat:5000,5000\n\n\0")
    assert as_client(session.accept(session_id="s1", user="ann"), "1.0").headers["heart-beat"] == "0,0"
    assert session.heartbeat == Heartbeat(0, 0)


def test_a_1_0_client_without_ids_subscribes_once_to_a_destination() -> None:
    session = open_session("1.0")
    receive(session, "SUBSCRIBE\ndestination:/a\n\n\0SUBSCRIBE\ndestination:/b\n\n\0")
    assert refusal(session, "SUBSCRIBE\ndestination:/a\n\n\0").message == "duplicate subscription"


@pytest.mark.parametrize(
    ("header", "mode"),
    [
        ("", AckMode.AUTO),
        ("ack:auto\n", AckMode.AUTO),
        ("ack:client\n", AckMode.CLIENT),
        ("ack:client-individual\n", AckMode.CLIENT_INDIVIDUAL),
    ],
)
@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_subscription_has_an_ack_mode(version: str, header: str, mode: AckMode) -> None:
    assert receive(open_session(version), f"SUBSCRIBE\nid:0\ndestination:/a\n{header}\n\0") == [
        Subscribe(Subscription("0", "/a", mode))
    ]


@pytest.mark.parametrize("mode", ["", "Client", "none", "client individual"])
def test_another_ack_mode_is_fatal(mode: str) -> None:
    session = open_session()
    error = refusal(session, f"SUBSCRIBE\nid:0\ndestination:/a\nack:{mode}\nreceipt:r\n\n\0")
    assert error.message == "bad ack mode"
    assert repr(mode) in error.detail
    assert error.receipt_id == "r"
    assert session.subscriptions == {}


@pytest.mark.parametrize(
    "frames",
    [
        "SUBSCRIBE\nid:0\ndestination:/a\nack:{long}\n\n\0",
        "SUBSCRIBE\nid:{long}\ndestination:/a\n\n\0" * 2,
        "BEGIN\ntransaction:{long}\n\n\0" * 2,
        "SEND\ndestination:/a\ntransaction:{long}\n\n\0",
        "COMMIT\ntransaction:{long}\n\n\0",
    ],
)
def test_a_long_value_is_quoted_only_in_part(frames: str) -> None:
    assert len(refusal(open_session(), frames.format(long="x" * 8000)).detail) < 200


# "ACK", "NACK"


@pytest.mark.parametrize(("command", "kind"), [("ACK", Ack), ("NACK", Nack)])
@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", "message-id:m1\nsubscription:0\n"),
        ("1.2", f"id:{ack_id('m1', '0')}\n"),
        ("1.2", f"id:{ack_id('m1', '0')}\nmessage-id:m2\nsubscription:1\n"),
    ],
)
def test_a_client_acknowledges(version: str, headers: str, command: str, kind: type[Ack]) -> None:
    session = open_session(version)
    receive(session, "SUBSCRIBE\nid:0\ndestination:/a\nack:client\n\n\0")
    (event,) = receive(session, f"{command}\n{headers}receipt:r\n\n\0")
    assert event == kind("m1", Subscription("0", "/a", AckMode.CLIENT), "r")
    assert isinstance(event, Ack)
    assert event.cumulative


def test_a_1_0_client_acknowledges_by_the_message_id_alone() -> None:
    session = open_session("1.0")
    receive(session, "SUBSCRIBE\nid:0\ndestination:/a\nack:client\n\n\0")
    assert receive(session, "ACK\nmessage-id: m1\nreceipt:r\n\n\0") == [Ack("m1", None, "r")]
    # Not in 1.0, and of use where it comes.
    assert receive(session, "ACK\nmessage-id:m1\nsubscription:0\n\n\0") == [
        Ack("m1", Subscription("0", "/a", AckMode.CLIENT))
    ]


def test_there_is_no_nack_in_1_0() -> None:
    error = refusal(open_session("1.0"), "NACK\nmessage-id:m1\nreceipt:r\n\n\0")
    assert error.message == "unknown command"
    assert error.receipt_id == "r"


@pytest.mark.parametrize(
    ("version", "headers", "message_id"),
    [
        ("1.1", "message-id:m1\nsubscription:9\n", "m1"),
        ("1.2", "id:m1/9\n", "m1"),
        ("1.2", "id:m1\n", "m1"),
        ("1.2", "id:/\n", ""),
        ("1.2", "id:m1/9/9\n", "m1"),
    ],
)
def test_an_ack_of_an_unknown_subscription_has_none(version: str, headers: str, message_id: str) -> None:
    assert receive(open_session(version), f"ACK\n{headers}\n\0") == [Ack(message_id, None)]


def test_an_ack_id_tells_any_subscription_id() -> None:
    session = open_session()
    receive(session, "SUBSCRIBE\nid:a/b\\c\\\\\ndestination:/a\n\n\0")
    assert ack_id("m1", "a/b:\\") == "m1/a/b:\\"
    assert receive(session, "ACK\nid:m1/a/b\\c\\\\\n\n\0") == [Ack("m1", Subscription("a/b:\\", "/a"))]


# "BEGIN", "COMMIT", "ABORT"


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_a_transaction_is_done_when_it_is_committed_and_in_its_order(version: str) -> None:
    session = open_session(version)
    ack = "ACK\nid:m1/0\nmessage-id:m1\nsubscription:0\ntransaction:t\n\n\0"
    assert receive(session, "BEGIN\ntransaction:t\nreceipt:r1\n\n\0") == [Noted("r1")]
    assert receive(session, "SEND\ndestination:/a\ntransaction:t\nreceipt:r2\n\none\0") == [Noted("r2")]
    assert receive(session, ack) == [Noted()]
    assert receive(session, "SEND\ndestination:/b\n\nnow\0") == [Send("/b", {"destination": "/b"}, b"now")]
    assert receive(session, "COMMIT\ntransaction:t\nreceipt:r3\n\n\0") == [
        Commit(
            (
                # Its receipt was answered when it joined: a Send with one would have it answered twice.
                Send("/a", {"destination": "/a", "transaction": "t", "receipt": "r2"}, b"one", None),
                Ack("m1", None, None),
            ),
            "r3",
        )
    ]


@pytest.mark.parametrize("version", SINCE_1_1)
def test_a_nack_may_be_part_of_a_transaction(version: str) -> None:
    session = open_session(version)
    nack = "NACK\nid:m1/0\nmessage-id:m1\nsubscription:0\ntransaction:t\nreceipt:r\n\n\0"
    assert receive(session, "BEGIN\ntransaction:t\n\n\0", nack) == [Noted(), Noted("r")]
    assert receive(session, "COMMIT\ntransaction:t\n\n\0") == [Commit((Nack("m1"),))]


def test_an_aborted_transaction_leaves_nothing() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/a\ntransaction:t\n\n\0")
    assert receive(session, "ABORT\ntransaction:t\nreceipt:r\n\n\0") == [Noted("r")]
    assert receive(session, "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0") == [Noted(), Commit(())]


def test_transactions_do_not_mix() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:u\n\n\0")
    receive(session, "ACK\nid:1\ntransaction:t\n\n\0ACK\nid:2\ntransaction:u\n\n\0ACK\nid:3\ntransaction:t\n\n\0")
    assert receive(session, "COMMIT\ntransaction:u\n\n\0") == [Commit((Ack("2"),))]
    assert receive(session, "COMMIT\ntransaction:t\n\n\0") == [Commit((Ack("1"), Ack("3")))]


def test_an_ack_keeps_its_subscription_though_it_ends_before_the_commit() -> None:
    session = open_session()
    receive(session, "SUBSCRIBE\nid:0\ndestination:/a\n\n\0BEGIN\ntransaction:t\n\n\0ACK\nid:m/0\ntransaction:t\n\n\0")
    receive(session, "UNSUBSCRIBE\nid:0\n\n\0SUBSCRIBE\nid:0\ndestination:/b\n\n\0ACK\nid:n/0\ntransaction:t\n\n\0")
    assert receive(session, "COMMIT\ntransaction:t\n\n\0") == [
        Commit((Ack("m", Subscription("0", "/a")), Ack("n", Subscription("0", "/b"))))
    ]


def test_subscriptions_are_not_part_of_a_transaction() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0")
    assert receive(session, "SUBSCRIBE\nid:0\ndestination:/a\ntransaction:t\n\n\0") == [
        Subscribe(Subscription("0", "/a"))
    ]
    receive(session, "ABORT\ntransaction:t\n\n\0")
    assert session.subscriptions == {"0": Subscription("0", "/a")}


@pytest.mark.parametrize(
    "frame",
    [
        "SEND\ndestination:/a\ntransaction:t\n",
        "SEND\ndestination:/a\ntransaction:\n",
        "ACK\nid:m\ntransaction:t\n",
        "NACK\nid:m\ntransaction:t\n",
        "COMMIT\ntransaction:t\n",
        "ABORT\ntransaction:t\n",
    ],
)
def test_an_unknown_transaction_is_fatal(frame: str) -> None:
    for earlier in ("", "BEGIN\ntransaction:u\n\n\0", "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0"):
        session = open_session()
        receive(session, earlier)
        error = refusal(session, frame + "receipt:r\n\n\0")
        assert error.message == "unknown transaction"
        assert error.receipt_id == "r"


def test_a_transaction_begins_once() -> None:
    # "Transaction identifiers MUST be unique per connection" is read as: among the open ones.
    session = open_session()
    begin, commit = "BEGIN\ntransaction:t\nreceipt:r\n\n\0", "COMMIT\ntransaction:t\n\n\0"
    receive(session, begin, commit, begin)
    error = refusal(session, begin)
    assert error.message == "transaction already begun"
    assert error.receipt_id == "r"


def test_disconnect_aborts_open_transactions() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/a\ntransaction:t\n\n\0")
    assert receive(session, "DISCONNECT\n\n\0COMMIT\ntransaction:t\n\n\0") == [Disconnect()]


# "DISCONNECT" and the end


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_nothing_is_heard_after_disconnect(version: str) -> None:
    session = open_session(version)
    assert receive(session, "DISCONNECT\nreceipt:r\n\n\0SEND\ndestination:/a\n\n\0") == [Disconnect("r")]
    assert session.state is State.CLOSED
    waiting = session.buffered
    assert receive(session, "SEND\ndestination:/a\n\n\0" * 10) == []
    assert session.buffered == waiting


def test_nothing_is_heard_after_a_violation() -> None:
    session = open_session()
    refusal(session, "FOO\n\n\0SEND\ndestination:/a\n\n\0")
    assert receive(session, "SEND\ndestination:/a\n\n\0") == []


def test_nothing_is_heard_after_a_malformed_frame() -> None:
    session = open_session()
    refusal(session, "\0SEND\ndestination:/a\n\n\0")
    assert receive(session, "SEND\ndestination:/a\n\n\0") == []


def test_an_error_ends_the_session_and_its_transactions() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0")
    wire = session.error("no", "größer\n", receipt_id="a:b", headers={"retry-after": "5"})
    assert (
        wire
        == (
            "ERROR\nmessage:no\ncontent-type:text/plain;charset=utf-8\ncontent-length:9\nreceipt-id:a\\cb\nretry-after:5\n\n"
            "größer\n\0"
        ).encode()
    )
    assert session.state is State.CLOSED
    assert receive(session, "COMMIT\ntransaction:t\n\n\0") == []
    assert not session._transactions


# "RECEIPT", "ERROR": what comes back from a client goes back to it, and stays one header


RECEIPT_IDS = {
    "1.0": ["plain", "a:b", "a\\nb", "a\rb", "a\r", "é😀"],
    "1.1": ["plain", "a:b", "a\nmessage:x", "a\\nb", "a\rb", "a\r", " a ", "é😀", "\n\n"],
    "1.2": ["plain", "a:b", "a\nmessage:x", "a\\nb", "a\rb", "a\r\n", " a ", "é😀", "\n\n"],
}
ESCAPE: dict[str, Callable[[str], str]] = {
    "1.0": lambda text: text,
    "1.1": lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace(":", "\\c"),
    "1.2": lambda text: text.replace("\\", "\\\\").replace("\n", "\\n").replace(":", "\\c").replace("\r", "\\r"),
}


@pytest.mark.parametrize(
    ("version", "receipt_id"), [(version, receipt_id) for version, ids in RECEIPT_IDS.items() for receipt_id in ids]
)
def test_a_receipt_id_goes_back_as_it_came(version: str, receipt_id: str) -> None:
    session = open_session(version)
    (event,) = receive(session, f"SEND\ndestination:/a\nreceipt:{ESCAPE[version](receipt_id)}\n\n\0")
    assert isinstance(event, Send)
    assert event.receipt == receipt_id
    assert as_client(session.receipt(receipt_id), version) == Frame("RECEIPT", {"receipt-id": receipt_id})
    frame = as_client(session.error("no", "", receipt_id=receipt_id), version)
    assert frame.headers["receipt-id"] == receipt_id
    assert frame.headers["message"] == "no"


def test_an_empty_receipt_id_is_one() -> None:
    session = open_session()
    assert receive(session, "BEGIN\ntransaction:t\nreceipt:\n\n\0") == [Noted("")]
    assert session.receipt("") == b"RECEIPT\nreceipt-id:\n\n\0"
    assert as_client(session.error("no", "", receipt_id="")).headers["receipt-id"] == ""
    assert "receipt-id" not in as_client(session.error("no", "")).headers


def test_a_receipt_of_a_connect_goes_back_though_it_is_not_escaped() -> None:
    session = new_session()
    error = refusal(session, "CONNECT\naccept-version:9\nreceipt:a\\n:b\n\n\0")
    assert error.receipt_id == "a\\n:b"
    assert b"\nreceipt-id:a\\n:b\n" in session.error(error.message, error.detail, receipt_id=error.receipt_id)


def test_a_user_name_cannot_bring_in_a_header() -> None:
    session = new_session()
    receive(session, "CONNECT\naccept-version:1.2\n\n\0")
    with pytest.raises(ValueError, match="cannot be written"):
        session.accept(session_id="s1", user="ann\nrole:admin")


# "Size Limits"


SMALL = SessionLimits(
    connecting=FrameLimits(max_frame_bytes=60, max_headers=2, max_header_bytes=30),
    connected=FrameLimits(max_frame_bytes=120, max_headers=4, max_header_bytes=60),
    max_subscriptions=2,
    max_transactions=2,
    max_transaction_bytes=4096,
)


def test_the_limits_of_the_house() -> None:
    limits = SessionLimits()
    assert limits.connecting == FrameLimits(max_frame_bytes=65_536, max_headers=64, max_header_bytes=8192)
    assert limits.connected == FrameLimits(max_frame_bytes=262_144, max_headers=64, max_header_bytes=8192)
    assert limits.max_subscriptions == 128


@pytest.mark.parametrize(
    "connect",
    [
        "CONNECT\na:1\nb:2\nc:3\n\n\0",
        f"CONNECT\naccept-version:{'1' * 16}\n\n\0",
        f"CONNECT\n\n{'x' * 51}\0",
        "CONNECT\ncontent-length:33\n\n",
        "C" * 61,
    ],
)
def test_the_limits_are_narrow_before_connect(connect: str) -> None:
    assert isinstance(refusal(new_session(SMALL), connect), FrameTooLarge)


@pytest.mark.parametrize("lines", ["a:1\nb:2\nc:3\n", f"a:{'1' * 58}\n", f"\n{'x' * 80}"])
def test_the_limits_are_wider_after_connect(lines: str) -> None:
    session = open_session("1.2", SMALL)
    frame = f"SEND\ndestination:/a\n{lines}"
    frame += "\0" if "\n\n" in frame else "\n\0"
    assert len(receive(session, frame)) == 1


@pytest.mark.parametrize("lines", ["a:1\nb:2\nc:3\nd:4\n", f"a:{'1' * 59}\n", f"\n{'x' * 99}"])
def test_the_limits_hold_after_connect(lines: str) -> None:
    session = open_session("1.2", SMALL)
    frame = f"SEND\ndestination:/a\n{lines}"
    assert isinstance(refusal(session, frame + ("\0" if "\n\n" in frame else "\n\0")), FrameTooLarge)


def test_a_session_may_have_so_many_subscriptions() -> None:
    session = open_session("1.2", SMALL)
    subscribe = "SUBSCRIBE\nid:{}\ndestination:/a\nreceipt:r\n\n\0"
    receive(session, subscribe.format(0), subscribe.format(1), "UNSUBSCRIBE\nid:0\n\n\0", subscribe.format(2))
    error = refusal(session, subscribe.format(3))
    assert (error.message, error.receipt_id) == ("too many subscriptions", "r")
    assert error.detail == "a session may have 2 subscriptions"


def test_a_session_may_have_so_many_open_transactions() -> None:
    session = open_session("1.2", SMALL)
    begin = "BEGIN\ntransaction:{}\nreceipt:r\n\n\0"
    receive(session, begin.format(0), begin.format(1), "ABORT\ntransaction:0\n\n\0", begin.format(2))
    error = refusal(session, begin.format(3))
    assert (error.message, error.receipt_id) == ("too many transactions", "r")
    assert error.detail == "a session may have 2 open transactions"


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_open_transactions_may_gather_so_many_bytes_together(end: str) -> None:
    session = open_session("1.2", SMALL)
    receive(session, "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:u\n\n\0")
    sends = [f"SEND\ndestination:/a\ntransaction:{name}\nreceipt:r\n\n\0" for name in "tu"]
    receive(session, sends[1])
    for _ in range(20):  # an ended transaction gives back what it took, and no more
        receive(session, sends[0], sends[0], f"{end}\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0")
    receive(session, sends[0], sends[0], sends[1])
    error = refusal(session, sends[1])
    assert (error.message, error.receipt_id) == ("transactions too large", "r")
    assert error.detail == "open transactions may gather 4096 bytes in a session"


LONG = "x" * 8000
BULKY_FRAMES = {
    "body": "SEND\ndestination:/a\ntransaction:t\n\n" + "x" * 200_000 + "\0",
    "headers": "SEND\ndestination:/a\ntransaction:t\n" + "".join(f"{i}:{LONG}\n" for i in range(30)) + "\n\0",
    "names": "SEND\ndestination:/a\ntransaction:t\n" + "".join(f"{i}{LONG}:\n" for i in range(30)) + "\n\0",
    "short headers": "SEND\ndestination:/a\ntransaction:t\n" + "".join(f"{i}:\n" for i in range(60)) + "\n\0",
    "empty": "SEND\ndestination:/a\ntransaction:t\n\n\0",
    "ack": f"ACK\nid:{LONG}\ntransaction:t\n\n\0",
    "ack of an ended subscription": f"SUBSCRIBE\nid:{LONG}\ndestination:{LONG}\n\n\0"
    f"ACK\nid:/{LONG}\ntransaction:t\n\n\0UNSUBSCRIBE\nid:{LONG}\n\n\0",
    "unicode": "SEND\ndestination:/a\ntransaction:t\n" + f"a:😀{LONG}\n\n\0",
}


@pytest.mark.parametrize("frame", BULKY_FRAMES.values(), ids=BULKY_FRAMES.keys())
def test_what_a_transaction_gathers_is_bounded_in_memory(frame: str) -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0")
    tracemalloc.start()
    try:
        assert refusal(session, *[frame] * 10_000).message == "transactions too large"
        gathered, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The bound is 1 MiB of text; one emoji makes Python keep four bytes for each character beside it.
    assert gathered < (5 if "😀" in frame else 2) * 1_048_576


def test_events_hold_no_more_of_the_stream_than_their_own_body() -> None:
    session = open_session()
    data = b"SEND\ndestination:/a\n\nx\0" + b"\n" * 100_000
    holders = sys.getrefcount(data)
    events = receive(session, data)
    assert events == [Send("/a", {"destination": "/a"}, b"x")]
    assert sys.getrefcount(data) == holders


# Whatever comes

HOSTILE = st.binary(max_size=40) | st.lists(
    st.sampled_from(
        [
            *(
                b"CONNECT\n\n\0",
                b"CONNECT\naccept-version:1.1\n\n\0",
                b"STOMP\naccept-version:1.2\nheart-beat:1,1\n\n\0",
            ),
            *(command.encode() + b"\n" for command in OPEN_COMMANDS),
            *(b"id:1\n", b"id:m/1\n", b"destination:/a\n", b"transaction:t\n", b"message-id:m\n", b"subscription:1\n"),
            *(
                b"ack:client\n",
                b"content-length:1\n",
                b"receipt:\\c\n",
                b"a\rb:\\t\n",
                b"\r",
                b"\n",
                b"\n\0",
                b"\0",
                b"\xff",
            ),
        ]
    ),
    max_size=20,
).map(b"".join)


@settings(deadline=None)
@given(pieces=st.lists(HOSTILE, max_size=5), version=st.sampled_from([None, *EVERY_VERSION]))
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error_and_can_be_answered(
    pieces: list[bytes], version: str | None
) -> None:
    session = new_session(SMALL) if version is None else open_session(version, SMALL)
    try:
        for piece in [*pieces, b""]:
            for event in receive(session, piece):
                answer(session, event)
    except ProtocolError as error:
        assert session.state is State.CLOSED
        session.error(error.message, error.detail, receipt_id=error.receipt_id, headers=error.headers)


def answer(session: ServerSession, event: Event) -> None:
    """As the gateway does: whatever a client asked for can be written."""
    if isinstance(event, Connect):
        session.accept(session_id="s1", user="ann")
    elif event.receipt is not None:
        assert as_client(session.receipt(event.receipt), session.version).headers == {"receipt-id": event.receipt}


def headers_of(**headers: str) -> str:
    return "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())


INVALID = [
    *("CONNECT\naccept-version:1.2\n\n\0", "FOO\n\n\0", "SEND\n\n\0", "\0", "SEND\nx\n\n\0", "BEGIN\n\n\0"),
    *(
        "SEND\ndestination:/a\ntransaction:unknown\n\n\0",
        "COMMIT\ntransaction:unknown\n\n\0",
        "ABORT\ntransaction:unknown\n\n\0",
    ),
    "SUBSCRIBE\nid:9\ndestination:/a\nack:never\n\n\0",
]
NAMES = st.sampled_from(["t", "u", "v"])
IDS = st.sampled_from(["0", "1", "2"])
RECEIPTS = st.none() | st.sampled_from(["r", "s"])


class Conversations(RuleBasedStateMachine):
    """A client that mostly keeps to the rules, and a model of what it has open."""

    @initialize(version=st.sampled_from(SINCE_1_1))
    def connect(self, version: str) -> None:
        self.version = version
        self.session = new_session(SessionLimits(max_subscriptions=3, max_transactions=3))
        self.subscriptions: dict[str, Subscription] = {}
        self.transactions: dict[str, list[Send | Ack | Nack]] = {}
        self.expect(f"CONNECT\naccept-version:{version}\n\n\0", Connect({"accept-version": version}))

    def expect(self, wire: str, event: Event) -> None:
        """The event comes, and the state moves as the table says. Before accept and after the end there is none."""
        before, command = self.session.state, command_of(wire)
        events = receive(self.session, wire)
        assert events == [event]
        assert self.session.state is TRANSITIONS[before, command]

    def transacted(self, frame: str, name: str | None, event: Send | Ack | Nack, receipt: str | None) -> None:
        if name is None:
            self.expect(frame, event)
        else:
            self.transactions[name].append(event)
            self.expect(frame, Noted(receipt))

    def is_open(self) -> bool:
        return self.session.state is State.OPEN

    def is_closed(self) -> bool:
        return self.session.state is State.CLOSED

    @precondition(lambda self: self.session.state is State.AUTHENTICATING)
    @rule()
    def accept(self) -> None:
        assert receive(self.session, "\n") == []
        self.session.accept(session_id="s1", user="ann")
        assert self.is_open()

    @precondition(is_open)
    @rule(subscription_id=IDS, mode=st.sampled_from(AckMode))
    def subscribe(self, subscription_id: str, mode: AckMode) -> None:
        wire = f"SUBSCRIBE\nid:{subscription_id}\ndestination:/a\nack:{mode}\n\n\0"
        if subscription_id in self.subscriptions:
            self.refused(wire)
        else:
            self.subscriptions[subscription_id] = subscription = Subscription(subscription_id, "/a", mode)
            self.expect(wire, Subscribe(subscription))

    @precondition(is_open)
    @rule(subscription_id=IDS)
    def unsubscribe(self, subscription_id: str) -> None:
        ended = self.subscriptions.pop(subscription_id, None)
        self.expect(f"UNSUBSCRIBE\nid:{subscription_id}\n\n\0", Unsubscribe(ended))

    @precondition(is_open)
    @rule(name=NAMES, receipt=RECEIPTS)
    def begin(self, name: str, receipt: str | None) -> None:
        wire = f"BEGIN\ntransaction:{name}\n{headers_of(receipt=receipt) if receipt else ''}\n\0"
        if name in self.transactions:
            self.refused(wire)
        else:
            self.transactions[name] = []
            self.expect(wire, Noted(receipt))

    @precondition(is_open)
    @rule(data=st.data(), body=st.sampled_from(["", "x", "\n"]), receipt=RECEIPTS)
    def send(self, data: st.DataObject, body: str, receipt: str | None) -> None:
        name = data.draw(st.sampled_from([None, *self.transactions]))
        headers = (
            {"destination": "/a"} | ({"transaction": name} if name else {}) | ({"receipt": receipt} if receipt else {})
        )
        event = Send("/a", headers, body.encode(), None if name else receipt)
        self.transacted(f"SEND\n{headers_of(**headers)}\n{body}\0", name, event, receipt)

    @precondition(is_open)
    @rule(data=st.data(), kind=st.sampled_from([Ack, Nack]), subscription_id=IDS, receipt=RECEIPTS)
    def acknowledge(
        self, data: st.DataObject, kind: type[Ack | Nack], subscription_id: str, receipt: str | None
    ) -> None:
        name = data.draw(st.sampled_from([None, *self.transactions]))
        headers = {"message_id": "m", "subscription": subscription_id, "id": ack_id("m", subscription_id)}
        headers |= ({"transaction": name} if name else {}) | ({"receipt": receipt} if receipt else {})
        event = kind("m", self.subscriptions.get(subscription_id), None if name else receipt)
        self.transacted(f"{kind.__name__.upper()}\n{headers_of(**headers)}\n\0", name, event, receipt)

    @precondition(lambda self: self.is_open() and self.transactions)
    @rule(data=st.data(), commit=st.booleans())
    def end_transaction(self, data: st.DataObject, commit: bool) -> None:
        name = data.draw(st.sampled_from(list(self.transactions)))
        gathered = self.transactions.pop(name)
        if commit:
            self.expect(f"COMMIT\ntransaction:{name}\n\n\0", Commit(tuple(gathered)))
        else:
            self.expect(f"ABORT\ntransaction:{name}\n\n\0", Noted())

    @precondition(is_open)
    @rule()
    def disconnect(self) -> None:
        self.expect("DISCONNECT\n\n\0", Disconnect())

    @precondition(is_open)
    @rule(frame=st.sampled_from(INVALID))
    def break_a_rule(self, frame: str) -> None:
        self.refused(frame)

    @rule()
    def hang_up(self) -> None:
        self.session.error("bye", "")
        assert self.is_closed()

    @precondition(is_closed)
    @rule(frame=st.sampled_from([*INVALID, "SEND\ndestination:/a\n\n\0", "CONNECT\n\n\0"]))
    def talk_after_the_end(self, frame: str) -> None:
        assert receive(self.session, frame) == []
        assert self.is_closed()

    def refused(self, wire: str) -> None:
        refusal(self.session, wire)

    @invariant()
    def the_open_subscriptions_are_those_of_the_model(self) -> None:
        if hasattr(self, "session") and not self.is_closed():
            assert self.session.subscriptions == self.subscriptions


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_table_knows_the_commands_of_a_client_and_no_others() -> None:
    assert {command for _, command in TRANSITIONS} == {"CONNECT", "STOMP", "DISCONNECT", *OPEN_COMMANDS}
    assert not any(state in (State.AUTHENTICATING, State.CLOSED) for state, _ in TRANSITIONS)
