"""SENDs with plain heads are parsed without the parser, with the same result."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import app.stomp.plain as plain
from app.stomp.events import Send
from app.stomp.frames import FrameLimits, Version
from app.stomp.heartbeat import Heartbeat
from app.stomp.plain import LONGEST_HEAD_BYTES
from app.stomp.session import ServerSession, SessionLimits

ACK = b"SEND\ndestination:/app/ack\ncontent-length:5\n\nntf_1\0"
LONG = b"SEND\ndestination:/app/" + b"a" * LONGEST_HEAD_BYTES + b"\n\n\0"


def open_session(version: Version = Version.V12, limits: FrameLimits | None = None) -> ServerSession:
    limits = limits or FrameLimits()
    session = ServerSession(SessionLimits(connected=limits), heartbeat=Heartbeat(), server="test")
    session.receive_data(f"CONNECT\naccept-version:{version}\nhost:a\n\n\0".encode())
    session.next_event()
    session.accept(session_id="s", user="alice")
    return session


def test_whole_send_is_parsed_at_once() -> None:
    event = open_session().plain_send(ACK)

    assert event == Send("/app/ack", {"destination": "/app/ack", "content-length": "5"}, b"ntf_1")


def test_remembered_head_is_used_for_another_body() -> None:
    session = open_session()
    session.plain_send(ACK)

    assert session.plain_send(ACK.replace(b"ntf_1", b"ntf_2")) == Send(
        "/app/ack", {"destination": "/app/ack", "content-length": "5"}, b"ntf_2"
    )


def test_frames_other_than_send_are_not_remembered() -> None:
    session = open_session()
    remembered = plain._read.cache_info().currsize
    for number in range(10):
        assert session.plain_send(b"ACK\nid:%d/s\n\n\0" % number) is None

    assert plain._read.cache_info().currsize == remembered


def test_receipt_is_requested() -> None:
    event = open_session().plain_send(b"SEND\ndestination:/app/a\nreceipt:r\n\n\0")

    assert event is not None
    assert event.receipt == "r"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\0",
        b"\0\0",
        b"\0" + ACK,
        ACK[:-1],
        ACK + b"\n",
        ACK + ACK,
        b"\n" + ACK,
        ACK.replace(b"5", b"4"),
        ACK.replace(b"5", b"6"),
        ACK.replace(b"5", b"05"),
        ACK.replace(b"5", b"five"),
        ACK.replace(b"ntf_1", b"ntf\0_"),
        ACK.replace(b"\n", b"\r\n"),
        ACK.replace(b"ack", b"a\\cck"),
        ACK.replace(b"ack", "ä".encode()),
        ACK.replace(b"/app/ack", b""),
        ACK.replace(b"destination:", b"destination"),
        ACK.replace(b"content-length", b""),
        ACK.replace(b"\ndest", b"\ntransaction:t\ndest"),
        ACK.replace(b"\ndest", b"\0\ndest"),
        ACK.replace(b"dest", b"d\0est"),
        ACK.replace(b"SEND", b"SENT"),
        b"SEND\n\n\0",
        LONG,
    ],
)
def test_other_data_is_left_to_the_parser(data: bytes) -> None:
    session = open_session()

    assert session.plain_send(data) is None
    session.plain_send(ACK)
    assert session.plain_send(data) is None


@pytest.mark.parametrize(
    "limits",
    [
        FrameLimits(max_frame_bytes=len(ACK) - 1),
        FrameLimits(max_headers=1),
        FrameLimits(max_header_bytes=LONGEST_HEAD_BYTES - 1),
    ],
)
def test_data_possibly_beyond_the_limits_is_left_to_the_parser(limits: FrameLimits) -> None:
    assert open_session(limits=limits).plain_send(ACK) is None
    assert open_session(limits=FrameLimits(max_frame_bytes=len(ACK))).plain_send(ACK) is not None


def test_spaces_of_stomp_1_0_are_left_to_the_parser() -> None:
    assert open_session(Version.V10).plain_send(ACK) is None
    assert open_session(Version.V11).plain_send(ACK) is not None


def test_nothing_is_parsed_before_connected_or_after_the_end() -> None:
    fresh = ServerSession(SessionLimits(), heartbeat=Heartbeat(), server="test")
    assert fresh.plain_send(ACK) is None

    session = open_session()
    session.error("over", "")
    assert session.plain_send(ACK) is None


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "destination:/app/ack",
                "destination:/app/b",
                "receipt:1",
                "a:b:c",
                "a:\\n",
                "a:\r",
                ":",
                "a",
                "ä:ö",
                "",
                "x:",
            ]
        ),
        st.integers(-1, 12).map(lambda size: f"content-length:{size}"),
        st.text(alphabet="a:\\\n\r\0 ", max_size=4),
    ),
    max_size=5,
)
BODIES = st.binary(max_size=12) | st.just(b"ntf_1")


@given(st.lists(st.sampled_from([b"\0", b"\n", b"SEND", b"\ndestination:/app/ack", b"\n\n", b"a"]), max_size=6))
def test_parser_reads_the_same_from_any_start(parts: list[bytes]) -> None:
    data = b"".join(parts)

    event = open_session().plain_send(data)

    if event is not None:
        session = open_session()
        session.receive_data(data)
        assert session.next_event() == event


@given(
    head=LINES,
    body=BODIES,
    command=st.sampled_from(["SEND", "SENDS", "\nSEND", "ACK"]),
    end=st.sampled_from(["\0", ""]),
)
@example(head=["destination:/app/ack", "content-length:5"], body=b"ntf_1", command="SEND", end="\0")
def test_parser_reads_the_same(head: list[str], body: bytes, command: str, end: str) -> None:
    data = "\n".join([command, *head, "", ""]).encode() + body + end.encode()

    event = open_session().plain_send(data)

    if event is not None:
        session = open_session()
        session.receive_data(data)
        assert session.next_event() == event
        assert not session.buffered
