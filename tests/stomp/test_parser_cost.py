"""Time and memory that the parser takes."""

import sys
import time
from collections.abc import Callable, Sequence

import pytest

from app.stomp.codec import HEARTBEAT
from app.stomp.frames import Frame, FrameLimits
from tests.stomp.parsing import V12, drain, new_parser, parse, sized


def is_linear(cost: Callable[[int], float], size: int) -> bool:
    """Return whether four times the bytes cost about four times as much (16 would be quadratic).

    Other processes may disturb an attempt, so it is repeated.
    """
    return any(cost(4 * size) < 7 * cost(size) for _ in range(3))


def cost_of(pieces: Sequence[bytes]) -> float:
    parser = new_parser(V12, FrameLimits(max_frame_bytes=10**7, max_header_bytes=10**7))
    start = time.process_time()
    for piece in pieces:
        parser.feed(piece)
        drain(parser)
    return time.process_time() - start


@pytest.mark.parametrize("head", [b"SEND", b"SEND\n", b"SEND\n\n", b"SEND\ncontent-length:999999\n\n", b"\n"])
def test_a_large_frame_in_small_pieces_takes_linear_time(head: bytes) -> None:
    def cost(size: int) -> float:
        piece = b"\n" * 16 if head == b"\n" else b"x" * 16
        return cost_of([head, *[piece] * (size // 16)])

    assert is_linear(cost, 131_072)


def test_a_maximal_frame_may_come_byte_by_byte() -> None:
    limit = FrameLimits().max_frame_bytes
    frame = sized(limit, head=b"SEND\n\n")
    assert parse(frame[i : i + 1] for i in range(limit)) == [Frame("SEND", {}, frame[6:-1])]


@pytest.mark.parametrize("first_piece", [0, 5])
@pytest.mark.parametrize(
    "frame", [b"SEND\na:b\n\nx\0", b"SEND\r\na:b\r\n\r\nx\0", b"\nSEND\r\ncontent-length:0\r\n\r\n\0\r\n"]
)
def test_a_long_stream_of_tiny_frames_takes_linear_time(frame: bytes, first_piece: int) -> None:
    def cost(size: int) -> float:
        stream = frame * (size // len(frame))
        return cost_of([stream[:first_piece], stream[first_piece:]])

    assert is_linear(cost, 65_536)


def test_parser_keeps_no_returned_data_in_memory() -> None:
    parser = new_parser()
    data = b"SEND\n\n" + b"x" * 100_000 + b"\0" + HEARTBEAT
    holders = sys.getrefcount(data)
    parser.feed(data)
    frame = parser.next_frame()
    assert drain(parser) == []
    assert frame is not None
    assert sys.getrefcount(data) == holders


def test_parser_of_an_incomplete_frame_keeps_only_that_frame() -> None:
    parser = new_parser()
    frame = sized(1000, head=b"SEND\n\n")
    for _ in range(100):  # always in the middle of a frame
        parser.feed(frame[500:] + frame[:500] if parser.buffered else frame[:500])
        drain(parser)
        assert parser.buffered == 500
    assert sys.getsizeof(parser._buffer) < 5_000
