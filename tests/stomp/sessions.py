"""Sessions of the server, and what a client sends to them."""

import pytest
from hypothesis import strategies as st

from app.stomp.errors import ProtocolError
from app.stomp.events import (
    Event,
)
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.heartbeat import Heartbeat
from app.stomp.parser import FrameParser
from app.stomp.session import OPEN_COMMANDS, ServerSession, SessionLimits, State

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


SMALL = SessionLimits(
    connecting=FrameLimits(max_frame_bytes=60, max_headers=2, max_header_bytes=30),
    connected=FrameLimits(max_frame_bytes=120, max_headers=4, max_header_bytes=60),
    max_subscriptions=2,
    max_transactions=2,
    max_transaction_bytes=4096,
)


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
