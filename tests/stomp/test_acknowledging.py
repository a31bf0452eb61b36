"""STOMP: "ACK" and "NACK" of the STOMP specifications."""

import pytest

from app.stomp.events import (
    Ack,
    Nack,
    Subscription,
)
from app.stomp.frames import AckMode
from app.stomp.session import ack_id
from tests.stomp.sessions import open_session, receive, refusal


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
    # 1.0 does not define it, but clients send it and it helps.
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


def test_ack_id_names_any_subscription_id() -> None:
    session = open_session()
    receive(session, "SUBSCRIBE\nid:a/b\\c\\\\\ndestination:/a\n\n\0")
    assert ack_id("m1", "a/b:\\") == "m1/a/b:\\"
    assert receive(session, "ACK\nid:m1/a/b\\c\\\\\n\n\0") == [Ack("m1", Subscription("a/b:\\", "/a"))]
