"""STOMP: "SUBSCRIBE" and "UNSUBSCRIBE" of the STOMP specifications."""

import pytest

from app.stomp.events import (
    Subscribe,
    Subscription,
    Unsubscribe,
)
from app.stomp.frames import AckMode
from app.stomp.heartbeat import Heartbeat
from tests.stomp.sessions import EVERY_VERSION, as_client, new_session, open_session, receive, refusal


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
def test_destination_may_be_subscribed_to_twice(version: str) -> None:
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
def test_unknown_subscription_may_be_ended(version: str) -> None:
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


def test_connected_offers_no_heartbeats_to_1_0() -> None:
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
