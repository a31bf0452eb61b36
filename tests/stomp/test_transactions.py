"""STOMP: "BEGIN", "COMMIT" and "ABORT" of the STOMP specifications."""

import pytest

from app.stomp.events import (
    Ack,
    Commit,
    Disconnect,
    Nack,
    ReceiptOnly,
    Send,
    Subscribe,
    Subscription,
)
from tests.stomp.sessions import EVERY_VERSION, SINCE_1_1, open_session, receive, refusal


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_commit_returns_the_frames_of_the_transaction_in_order(version: str) -> None:
    session = open_session(version)
    ack = "ACK\nid:m1/0\nmessage-id:m1\nsubscription:0\ntransaction:t\n\n\0"
    assert receive(session, "BEGIN\ntransaction:t\nreceipt:r1\n\n\0") == [ReceiptOnly("r1")]
    assert receive(session, "SEND\ndestination:/a\ntransaction:t\nreceipt:r2\n\none\0") == [ReceiptOnly("r2")]
    assert receive(session, ack) == [ReceiptOnly()]
    assert receive(session, "SEND\ndestination:/b\n\nnow\0") == [Send("/b", {"destination": "/b"}, b"now")]
    assert receive(session, "COMMIT\ntransaction:t\nreceipt:r3\n\n\0") == [
        Commit(
            (
                # Its receipt was sent when it joined; a Send with a receipt would send it twice.
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
    assert receive(session, "BEGIN\ntransaction:t\n\n\0", nack) == [ReceiptOnly(), ReceiptOnly("r")]
    assert receive(session, "COMMIT\ntransaction:t\n\n\0") == [Commit((Nack("m1"),))]


def test_aborted_transaction_is_dropped() -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/a\ntransaction:t\n\n\0")
    assert receive(session, "ABORT\ntransaction:t\nreceipt:r\n\n\0") == [ReceiptOnly("r")]
    assert receive(session, "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0") == [ReceiptOnly(), Commit(())]


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
