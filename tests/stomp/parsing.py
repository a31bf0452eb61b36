"""Parsers of a version, and streams in pieces."""

from collections.abc import Iterable

import pytest

from app.stomp.errors import ProtocolError
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.parser import FrameParser

V10, V11, V12 = Version.V10, Version.V11, Version.V12


EVERY_VERSION = (V10, V11, V12)


LINES_END_WITH_LF_ONLY = (V10, V11)


def new_parser(version: Version | None = V12, limits: FrameLimits | None = None) -> FrameParser:
    parser = FrameParser(limits or FrameLimits())
    parser.version = version
    return parser


def drain(parser: FrameParser) -> list[Frame]:
    return list(iter(parser.next_frame, None))


def parse(pieces: bytes | Iterable[bytes], version: Version | None = V12, **limits: int) -> list[Frame]:
    parser = new_parser(version, FrameLimits(**limits))
    frames = []
    for piece in [pieces] if isinstance(pieces, bytes) else pieces:
        parser.feed(piece)
        frames += drain(parser)
    return frames


def refusal(data: bytes, version: Version | None = V12, **limits: int) -> ProtocolError:
    """Return the error. Checks that it is the same for the whole data and for single bytes."""
    with pytest.raises(ProtocolError) as whole:
        parse(data, version, **limits)
    with pytest.raises(ProtocolError) as single:
        parse((data[i : i + 1] for i in range(len(data))), version, **limits)
    assert type(whole.value) is type(single.value)
    assert whole.value.message == single.value.message
    return whole.value


def sized(size: int, *, head: bytes) -> bytes:
    return head + b"x" * (size - len(head) - 1) + b"\0"
