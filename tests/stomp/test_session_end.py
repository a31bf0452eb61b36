"""STOMP: "DISCONNECT", "RECEIPT" and "ERROR" of the STOMP specifications."""

from collections.abc import Callable

import pytest

from app.stomp.events import (
    Disconnect,
    ReceiptOnly,
    Send,
)
from app.stomp.frames import Frame
from app.stomp.session import State
from tests.stomp.sessions import EVERY_VERSION, as_client, new_session, open_session, receive, refusal

# "DISCONNECT" and the end


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_nothing_is_read_after_disconnect(version: str) -> None:
    session = open_session(version)
    assert receive(session, "DISCONNECT\nreceipt:r\n\n\0SEND\ndestination:/a\n\n\0") == [Disconnect("r")]
    assert session.state is State.CLOSED
    waiting = session.buffered
    assert receive(session, "SEND\ndestination:/a\n\n\0" * 10) == []
    assert session.buffered == waiting


def test_nothing_is_read_after_a_violation() -> None:
    session = open_session()
    refusal(session, "FOO\n\n\0SEND\ndestination:/a\n\n\0")
    assert receive(session, "SEND\ndestination:/a\n\n\0") == []


def test_nothing_is_read_after_a_malformed_frame() -> None:
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


# "RECEIPT", "ERROR": values from a client are returned to it, each as one header


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
def test_receipt_id_is_returned_unchanged(version: str, receipt_id: str) -> None:
    session = open_session(version)
    (event,) = receive(session, f"SEND\ndestination:/a\nreceipt:{ESCAPE[version](receipt_id)}\n\n\0")
    assert isinstance(event, Send)
    assert event.receipt == receipt_id
    assert as_client(session.receipt(receipt_id), version) == Frame("RECEIPT", {"receipt-id": receipt_id})
    frame = as_client(session.error("no", "", receipt_id=receipt_id), version)
    assert frame.headers["receipt-id"] == receipt_id
    assert frame.headers["message"] == "no"


def test_empty_receipt_id_is_valid() -> None:
    session = open_session()
    assert receive(session, "BEGIN\ntransaction:t\nreceipt:\n\n\0") == [ReceiptOnly("")]
    assert session.receipt("") == b"RECEIPT\nreceipt-id:\n\n\0"
    assert as_client(session.error("no", "", receipt_id="")).headers["receipt-id"] == ""
    assert "receipt-id" not in as_client(session.error("no", "")).headers


def test_receipt_id_of_a_connect_is_returned_although_connect_is_not_escaped() -> None:
    session = new_session()
    error = refusal(session, "CONNECT\naccept-version:9\nreceipt:a\\n:b\n\n\0")
    assert error.receipt_id == "a\\n:b"
    assert b"\nreceipt-id:a\\n:b\n" in session.error(error.message, error.detail, receipt_id=error.receipt_id)


def test_user_name_cannot_inject_a_header() -> None:
    session = new_session()
    receive(session, "CONNECT\naccept-version:1.2\n\n\0")
    with pytest.raises(ValueError, match="cannot be written"):
        session.accept(session_id="s1", user="ann\nrole:admin")
