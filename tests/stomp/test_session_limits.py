"""STOMP: "Size Limits" of the STOMP specifications."""

import sys
import tracemalloc

import pytest

from app.stomp.errors import FrameTooLarge
from app.stomp.events import (
    Send,
)
from app.stomp.frames import FrameLimits
from app.stomp.session import SessionLimits
from tests.stomp.sessions import SMALL, new_session, open_session, receive, refusal


def test_default_limits() -> None:
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
def test_limits_before_connected_are_narrow(connect: str) -> None:
    assert isinstance(refusal(new_session(SMALL), connect), FrameTooLarge)


@pytest.mark.parametrize("lines", ["a:1\nb:2\nc:3\n", f"a:{'1' * 58}\n", f"\n{'x' * 80}"])
def test_limits_after_connected_are_wider(lines: str) -> None:
    session = open_session("1.2", SMALL)
    frame = f"SEND\ndestination:/a\n{lines}"
    frame += "\0" if "\n\n" in frame else "\n\0"
    assert len(receive(session, frame)) == 1


@pytest.mark.parametrize("lines", ["a:1\nb:2\nc:3\nd:4\n", f"a:{'1' * 59}\n", f"\n{'x' * 99}"])
def test_frames_beyond_the_limits_are_refused_after_connected(lines: str) -> None:
    session = open_session("1.2", SMALL)
    frame = f"SEND\ndestination:/a\n{lines}"
    assert isinstance(refusal(session, frame + ("\0" if "\n\n" in frame else "\n\0")), FrameTooLarge)


def test_number_of_subscriptions_is_limited() -> None:
    session = open_session("1.2", SMALL)
    subscribe = "SUBSCRIBE\nid:{}\ndestination:/a\nreceipt:r\n\n\0"
    receive(session, subscribe.format(0), subscribe.format(1), "UNSUBSCRIBE\nid:0\n\n\0", subscribe.format(2))
    error = refusal(session, subscribe.format(3))
    assert (error.message, error.receipt_id) == ("too many subscriptions", "r")
    assert error.detail == "a session may have 2 subscriptions"


def test_number_of_open_transactions_is_limited() -> None:
    session = open_session("1.2", SMALL)
    begin = "BEGIN\ntransaction:{}\nreceipt:r\n\n\0"
    receive(session, begin.format(0), begin.format(1), "ABORT\ntransaction:0\n\n\0", begin.format(2))
    error = refusal(session, begin.format(3))
    assert (error.message, error.receipt_id) == ("too many transactions", "r")
    assert error.detail == "a session may have 2 open transactions"


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_bytes_in_open_transactions_are_limited(end: str) -> None:
    session = open_session("1.2", SMALL)
    receive(session, "BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:u\n\n\0")
    sends = [f"SEND\ndestination:/a\ntransaction:{name}\nreceipt:r\n\n\0" for name in "tu"]
    receive(session, sends[1])
    for _ in range(20):  # an ended transaction releases exactly the bytes that it took
        receive(session, sends[0], sends[0], f"{end}\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0")
    receive(session, sends[0], sends[0], sends[1])
    error = refusal(session, sends[1])
    assert (error.message, error.receipt_id) == ("transactions too large", "r")
    assert error.detail == "the open transactions of a session may hold 4096 bytes"


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
def test_memory_of_open_transactions_is_limited(frame: str) -> None:
    session = open_session()
    receive(session, "BEGIN\ntransaction:t\n\n\0")
    tracemalloc.start()
    try:
        assert refusal(session, *[frame] * 10_000).message == "transactions too large"
        gathered, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The bound is 1 MiB of text; with one emoji in it, Python stores every character in four bytes.
    assert gathered < (5 if "😀" in frame else 2) * 1_048_576


def test_events_keep_only_their_own_body_in_memory() -> None:
    session = open_session()
    data = b"SEND\ndestination:/a\n\nx\0" + b"\n" * 100_000
    holders = sys.getrefcount(data)
    events = receive(session, data)
    assert events == [Send("/a", {"destination": "/a"}, b"x")]
    assert sys.getrefcount(data) == holders
