"""The wire format by property: encoded frames parse to the same frames, wherever the stream is cut."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.stomp.codec import encode_frame, encode_header
from app.stomp.errors import ProtocolError
from app.stomp.frames import Frame, FrameLimits, Version
from tests.stomp.parsing import EVERY_VERSION, LINES_END_WITH_LF_ONLY, V10, V11, V12, drain, new_parser, parse

PATIENT = settings(deadline=None)


def text_without(characters: str, *, min_size: int = 0) -> st.SearchStrategy[str]:
    """Return texts of all characters except these. Characters that are special in STOMP are frequent."""
    telling = [character for character in ":\\\n\r c\ufeff\u2028😀" if character not in characters]
    anything = st.characters(exclude_categories=["Cs"], exclude_characters=characters)
    return st.text(st.sampled_from(telling) | anything, min_size=min_size, max_size=8)


def is_trimmed(text: str) -> bool:
    return text == text.strip(" ")


# A NUL ends a frame and no version can escape it; a name must not be empty.
# 1.1 and 1.2 carry everything else. (1.1 has no escape for CR and needs none: its lines end with LF alone.)
ESCAPED_NAMES, ESCAPED_VALUES = text_without("\0", min_size=1), text_without("\0")


# 1.0 escapes nothing, so LF is lost, and a colon in the name; spaces around names and values are trimmed.
PLAIN_NAMES, PLAIN_VALUES = (
    text_without("\0\n:", min_size=1).filter(is_trimmed),
    text_without("\0\n").filter(is_trimmed),
)


# CONNECT is not escaped in any version, and is read before the version is known: CR is lost too. Nothing is trimmed.
CONNECT_NAMES, CONNECT_VALUES = text_without("\0\n\r:", min_size=1), text_without("\0\n\r")


def header_lists(
    names: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[list[tuple[str, str]]]:
    names = names.filter(lambda name: name != "content-length") | st.just("again")
    return st.lists(st.tuples(names, values), max_size=4)


HEADERS = {
    V10: header_lists(PLAIN_NAMES, PLAIN_VALUES),
    V11: header_lists(ESCAPED_NAMES, ESCAPED_VALUES),
    V12: header_lists(ESCAPED_NAMES, ESCAPED_VALUES),
}


BODIES = st.binary(max_size=12) | st.sampled_from(
    [b"\n", b"\r\n", b"\n\n\0\n\n", b"\n\r\n", b"SEND\n\n\0", b"\xff\xfe"]
)


def first_of_each(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(reversed(list(headers)))


@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(data=st.data())
def test_encoded_frame_parses_to_the_same_frame(version: Version, data: st.DataObject) -> None:
    headers, body = data.draw(HEADERS[version]), data.draw(BODIES)
    headers.insert(0, ("content-length", str(len(body))))
    wire = encode_frame("MESSAGE", headers, body, version=version)
    assert parse(wire, version) == [Frame("MESSAGE", first_of_each(headers), body)]


@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(headers=header_lists(CONNECT_NAMES, CONNECT_VALUES))
def test_encoded_connect_parses_before_the_version_is_known(
    command: str, version: Version, headers: list[tuple[str, str]]
) -> None:
    wire = encode_frame(command, headers, version=version)
    assert parse(wire, None) == [Frame(command, first_of_each(headers))]


@dataclass(frozen=True)
class Stream:
    wire: bytes
    frames: list[Frame]


@st.composite
def frame_streams(draw: st.DrawFn, version: Version) -> Stream:
    """Draw frames in all variants: line ends of 1.2, heart-beats, NUL in bodies with a length, repeated headers."""
    line_ends = st.just(b"\n") if version in LINES_END_WITH_LF_ONLY else st.sampled_from([b"\n", b"\r\n"])
    heartbeats = st.lists(line_ends, max_size=2).map(b"".join)
    wire, frames = draw(heartbeats), []
    for _ in range(draw(st.integers(1, 3))):
        headers, body = draw(HEADERS[version]), draw(BODIES)
        if b"\0" in body or draw(st.booleans()):
            headers.append(("content-length", str(len(body))))
        frames.append(Frame("SEND", first_of_each(headers), body))
        lines = ["SEND", *(encode_header(name, value, version=version) for name, value in headers), ""]
        wire += b"".join(line.encode() + draw(line_ends) for line in lines) + body + b"\0" + draw(heartbeats)
    return Stream(wire, frames)


@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(data=st.data())
def test_stream_cut_at_every_point_parses_to_the_same_frames(version: Version, data: st.DataObject) -> None:
    stream = data.draw(frame_streams(version))
    wire = stream.wire
    assert parse(wire, version) == stream.frames
    assert parse((wire[i : i + 1] for i in range(len(wire))), version) == stream.frames
    for cut in range(len(wire)):
        assert parse([wire[:cut], wire[cut:]], version) == stream.frames


@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(data=st.data())
def test_stream_in_random_pieces_parses_to_the_same_frames(version: Version, data: st.DataObject) -> None:
    stream = data.draw(frame_streams(version))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream.wire)), max_size=6)))
    pieces = [stream.wire[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert parse(pieces, version) == stream.frames


@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(data=st.data())
def test_frames_may_be_taken_late(version: Version, data: st.DataObject) -> None:
    stream = data.draw(frame_streams(version))
    parser = new_parser(version)
    for cut in range(0, len(stream.wire), 3):
        parser.feed(stream.wire[cut : cut + 3])
    assert parser.buffered == len(stream.wire)
    assert drain(parser) == stream.frames
    assert parser.buffered == 0


FRAGMENTS = [
    *(bytes([byte]) for byte in b"\0\n\r:\\ \xff"),
    *(
        b"SEND",
        b"CONNECT",
        b"\n\n",
        b"\r\n\r\n",
        b"a:b\n",
        b"content-length:",
        b"0\n",
        b"3\n",
        b"-1\n",
        b"99999999999\n",
    ),
    *(b"\\n", b"\\t", b"\xef\xbb\xbf", b"SEND\ndestination:/a\n\nx\0", b"destination:/a\n"),
]


HOSTILE_BYTES = st.binary(max_size=64) | st.lists(st.sampled_from(FRAGMENTS), max_size=24).map(b"".join)


@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
@PATIENT
@given(pieces=st.lists(HOSTILE_BYTES, max_size=4))
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error(version: Version | None, pieces: list[bytes]) -> None:
    parser = new_parser(version, FrameLimits(max_frame_bytes=100, max_headers=3, max_header_bytes=40))
    frames = 0
    with suppress(ProtocolError):
        for piece in pieces:
            parser.feed(piece)
            frames += len(drain(parser))
    assert frames <= len(b"".join(pieces))


@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
@PATIENT
@given(data=HOSTILE_BYTES)
def test_arbitrary_bytes_parse_the_same_in_one_piece_and_in_many(version: Version | None, data: bytes) -> None:
    def outcome(pieces: Iterable[bytes]) -> tuple[list[Frame], bool]:
        """Return the frames up to the first violation. Of several in a frame, any may be reported."""
        parser, frames = new_parser(version, FrameLimits(max_frame_bytes=100)), []
        try:
            for piece in pieces:
                parser.feed(piece)
                while (frame := parser.next_frame()) is not None:
                    frames.append(frame)
        except ProtocolError:
            return frames, True
        return frames, False

    assert outcome([data]) == outcome(data[i : i + 1] for i in range(len(data)))
