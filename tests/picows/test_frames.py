"""Encode WebSocket frames (RFC 6455 section 5.2)."""

import pytest
from picows import WSMsgType

from app.picows.frames import encode


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frame_header_has_the_payload_size(size: int) -> None:
    frame = encode(WSMsgType.TEXT, bytes(size))
    flag, head = frame[1], 2 if size < 126 else 4 if size < 65_536 else 10
    assert (frame[0], len(frame)) == (0x81, head + size)
    assert (flag if head == 2 else int.from_bytes(frame[2:head], "big")) == size
