"""STOMP: "SEND", and what every frame must have."""

import pytest

from app.stomp.events import (
    Connect,
    Disconnect,
    Send,
    Subscribe,
    Unsubscribe,
)
from app.stomp.session import ServerSession
from tests.stomp.sessions import EVERY_VERSION, SINCE_1_1, command_of, new_session, open_session, receive, refusal

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
