"""The wire, by example and by property. Sections are those of the STOMP specifications."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.stomp.codec import HEARTBEAT, encode_frame, encode_header, unescape
from app.stomp.errors import FrameTooLarge, ProtocolError
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.parser import FrameParser

V10, V11, V12 = Version.V10, Version.V11, Version.V12
EVERY_VERSION = (V10, V11, V12)
LINES_END_WITH_LF_ONLY = (V10, V11)
PATIENT = settings(deadline=None)


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
    """The error is the same however the bytes arrive."""
    with pytest.raises(ProtocolError) as whole:
        parse(data, version, **limits)
    with pytest.raises(ProtocolError) as single:
        parse((data[i : i + 1] for i in range(len(data))), version, **limits)
    assert type(whole.value) is type(single.value)
    assert whole.value.message == single.value.message
    return whole.value


# What a header can hold


def text_without(characters: str, *, min_size: int = 0) -> st.SearchStrategy[str]:
    """All of Unicode that UTF-8 can write, except these; the ones that mean something to STOMP come often."""
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
def test_what_is_encoded_is_read_back(version: Version, data: st.DataObject) -> None:
    headers, body = data.draw(HEADERS[version]), data.draw(BODIES)
    headers.insert(0, ("content-length", str(len(body))))
    wire = encode_frame("MESSAGE", headers, body, version=version)
    assert parse(wire, version) == [Frame("MESSAGE", first_of_each(headers), body)]


@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(headers=header_lists(CONNECT_NAMES, CONNECT_VALUES))
def test_a_connect_frame_is_read_back_before_the_version_is_known(
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
    """Frames with all that may differ: line ends of 1.2, heart-beats, NUL in bodies of a declared length, repeats."""
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
def test_a_stream_cut_at_every_point_gives_the_frames_of_one_piece(version: Version, data: st.DataObject) -> None:
    stream = data.draw(frame_streams(version))
    wire = stream.wire
    assert parse(wire, version) == stream.frames
    assert parse((wire[i : i + 1] for i in range(len(wire))), version) == stream.frames
    for cut in range(len(wire)):
        assert parse([wire[:cut], wire[cut:]], version) == stream.frames


@pytest.mark.parametrize("version", EVERY_VERSION)
@PATIENT
@given(data=st.data())
def test_a_stream_in_random_pieces_gives_the_frames_of_one_piece(version: Version, data: st.DataObject) -> None:
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
def test_arbitrary_bytes_mean_the_same_in_one_piece_and_in_many(version: Version | None, data: bytes) -> None:
    def outcome(pieces: Iterable[bytes]) -> tuple[list[Frame], bool]:
        """The frames up to the first violation. Which one is named first, of a frame with several, may differ."""
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


# "STOMP Frames" and their grammar


def test_a_frame_has_a_command_headers_and_a_body() -> None:
    assert parse(b"SEND\ndestination:/queue/a\n\nhello\0") == [Frame("SEND", {"destination": "/queue/a"}, b"hello")]


def test_a_frame_may_have_no_headers_and_no_body() -> None:
    assert parse(b"DISCONNECT\n\n\0") == [Frame("DISCONNECT", {})]


def test_the_receipt_of_a_frame_is_its_header() -> None:
    assert Frame("SEND", {"receipt": "77"}).receipt == "77"
    assert Frame("SEND", {}).receipt is None


def test_a_stream_holds_many_frames() -> None:
    assert [frame.command for frame in parse(b"A\n\n\0B\n\n\0\n\nC\n\n\0")] == ["A", "B", "C"]


@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
def test_line_feeds_between_frames_are_heartbeats(version: Version | None) -> None:
    parser = new_parser(version)
    parser.feed(HEARTBEAT * 3)
    assert drain(parser) == []
    assert parser.buffered == 0


@pytest.mark.parametrize("version", [None, V12])
def test_crlf_is_a_heartbeat_too_in_1_2(version: Version | None) -> None:
    assert parse(b"\r\n\n\r\nSEND\n\n\0\r\n", version) == [Frame("SEND", {})]


@pytest.mark.parametrize("version", [None, V12])
def test_lines_may_end_with_crlf_in_1_2(version: Version | None) -> None:
    assert parse(b"SEND\r\na:b\r\nc:d\n\r\nbody\r\n\0", version) == [Frame("SEND", {"a": "b", "c": "d"}, b"body\r\n")]


def test_a_blank_crlf_line_ends_the_headers_even_if_the_body_starts_with_lf() -> None:
    assert parse(b"SEND\r\na:b\r\n\r\n\nbody\0") == [Frame("SEND", {"a": "b"}, b"\nbody")]


def test_a_blank_lf_line_ends_the_headers_even_if_the_body_starts_with_crlf() -> None:
    assert parse(b"SEND\na:b\n\n\r\nbody\0") == [Frame("SEND", {"a": "b"}, b"\r\nbody")]


@pytest.mark.parametrize("version", LINES_END_WITH_LF_ONLY)
def test_before_1_2_a_cr_is_a_character_like_any_other(version: Version) -> None:
    assert parse(b"SEND\na:b\r\n\nbody\0", version) == [Frame("SEND", {"a": "b\r"}, b"body")]
    assert parse(b"\r\nA:b\n\n\0", version) == [Frame("\r", {"A": "b"})]


@pytest.mark.parametrize("version", LINES_END_WITH_LF_ONLY)
def test_before_1_2_a_crlf_line_does_not_end_the_headers(version: Version) -> None:
    assert refusal(b"SEND\r\na:b\r\n\r\nbody\0", version).message == "malformed frame"


@pytest.mark.parametrize("head", [b"SE\rND\n", b"SEND\na:b\rc\n", b"SEND\na:b\r\r\n", b"\rSEND\n", b"SEND\na\r:b\n"])
@pytest.mark.parametrize("version", [None, V12])
def test_a_lone_cr_is_refused_in_1_2(head: bytes, version: Version | None) -> None:
    assert "CR" in refusal(head + b"\n\0", version).detail


@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
@pytest.mark.parametrize(
    "data", [b"\0", b"SEND\0", b"SEND\na:b\0c\n\n\0", b"SEND\na:b\n\0\n", b"DISCONNECT\nreceipt:77\n\0"]
)
def test_a_nul_before_the_blank_line_is_refused(data: bytes, version: Version | None) -> None:
    # The last one stands in the DISCONNECT example of 1.1 and 1.2; their grammar demands the blank line.
    assert "NUL" in refusal(data, version).detail


@pytest.mark.parametrize("line", [b"no colon", b":no name", b":"])
@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
def test_a_header_line_needs_a_name_and_a_colon(line: bytes, version: Version | None) -> None:
    error = refusal(b"SEND\n" + line + b"\n\n\0", version)
    assert error.message == "malformed frame"
    assert repr(line.decode()) in error.detail


def test_a_malformed_line_is_quoted_only_in_part() -> None:
    assert len(refusal(b"SEND\n" + b"x" * 5000 + b"\n\n\0").detail) < 200


@pytest.mark.parametrize("text", [b"\xff:b", b"a:\xc3", b"a:\xed\xa0\x80"])
def test_headers_must_be_utf_8(text: bytes) -> None:
    assert "UTF-8" in refusal(b"SEND\n" + text + b"\n\n\0").detail


def test_headers_are_utf_8() -> None:
    assert parse("SEND\nprénom:Zoë 😀\n\n\0".encode()) == [Frame("SEND", {"prénom": "Zoë 😀"})]


def test_a_byte_order_mark_is_part_of_the_command() -> None:
    assert parse(b"\xef\xbb\xbfCONNECT\n\n\0", None) == [Frame("\ufeffCONNECT", {})]


def test_commands_and_names_keep_their_case() -> None:
    assert parse(b"send\nDestination:/a\n\n\0") == [Frame("send", {"Destination": "/a"})]


def test_a_body_is_never_decoded() -> None:
    assert parse(b"SEND\n\n\xff\\n\xfe\0") == [Frame("SEND", {}, b"\xff\\n\xfe")]


# "Value Encoding"


@pytest.mark.parametrize(
    ("version", "escaped", "text"),
    [
        (V11, "a\\cb\\nc\\\\n", "a:b\nc\\n"),
        (V12, "a\\cb\\nc\\\\n\\r", "a:b\nc\\n\r"),
        (V10, "a\\cb\\t\\", "a\\cb\\t\\"),
    ],
)
def test_escapes_are_those_of_the_version(version: Version, escaped: str, text: str) -> None:
    assert parse(f"SEND\nkey:{escaped}\n\n\0".encode(), version) == [Frame("SEND", {"key": text})]
    if version is not V10:
        assert encode_header("key", text, version=version) == f"key:{escaped}"


@pytest.mark.parametrize("version", [V11, V12])
def test_names_are_escaped_as_values_are(version: Version) -> None:
    assert parse(b"SEND\na\\cb\\\\:c\n\n\0", version) == [Frame("SEND", {"a:b\\": "c"})]
    assert encode_header("a:b\\", "c", version=version) == "a\\cb\\\\:c"


@pytest.mark.parametrize(
    ("version", "sequence"), [(V11, "\\r"), (V11, "\\t"), (V12, "\\t"), (V12, "\\"), (V12, "\\C"), (V12, "\\😀")]
)
@pytest.mark.parametrize("line", ["a:{}", "{}:a"])
def test_an_undefined_escape_is_fatal(version: Version, sequence: str, line: str) -> None:
    error = refusal(f"SEND\n{line.format(sequence)}\n\n\0".encode(), version)
    assert error.detail == f"{sequence!r} is not an escape sequence of STOMP {version}"


@pytest.mark.parametrize(
    "head",
    [
        "SEND\nreceipt:a\\cb\nx:\\t\n\nreceipt:body",
        "SEND\nx:\\t\nreceipt:a\\cb\n\n",
        "SEND\r\nx:\\t\r\nreceipt:a\\cb\r\n\r\n",
        "SEND\nno colon\nreceipt:a\\cb\n\n",
        "SEND\nreceipt:a\\cb\nx:a\rb\n\n",
        "SEND\nreceipt:\\t\nreceipt:a\\cb\n\n",
        "SEND\nreceipt:a\\cb\n",
        "SEND\nreceipt:a\\cb\n" + "x:y\n" * 5 + "\n",
        "SEND\nx:" + "y" * 90 + "\nreceipt:a\\cb\n\n",
    ],
)
def test_a_broken_head_is_refused_with_its_receipt(head: str) -> None:
    assert refusal(head.encode() + b"\0", V12, max_headers=3, max_header_bytes=80).receipt_id == "a:b"


@pytest.mark.parametrize(
    "data",
    [
        b"SEND\nx:\\t\n\nreceipt:body\n\0",
        b"SEND\nx:\\t\n\n\0SEND\nreceipt:of the next\n\n\0",
        b"SEND\nreceipt:\xff\n\n\0",
        b"SEND\nreceipt:\\t\n\n\0",
        b"SEND\nreceipt:1\0\n\n",
        b"SEND\nreceipt:" + b"1" * 90,
    ],
)
def test_no_receipt_is_made_up(data: bytes) -> None:
    assert refusal(data, V12, max_frame_bytes=80).receipt_id is None


@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
@pytest.mark.parametrize("version", [None, *EVERY_VERSION])
def test_connect_frames_are_not_unescaped(command: str, version: Version | None) -> None:
    assert parse(f"{command}\npasscode:a\\nb\\t:\\\n\n\0".encode(), version) == [
        Frame(command, {"passcode": "a\\nb\\t:\\"})
    ]


@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
@pytest.mark.parametrize("version", EVERY_VERSION)
def test_connect_frames_are_not_escaped(command: str, version: Version) -> None:
    assert encode_frame(command, [("a", "b:\\")], version=version) == command.encode() + b"\na:b:\\\n\n\0"


@pytest.mark.parametrize("version", [V11, V12])
def test_a_colon_in_a_value_needs_no_escape_to_be_read(version: Version) -> None:
    # The grammar forbids it, half the clients do it, and it cannot be misread.
    assert parse(b"SEND\nurl:http://a:1\n\n\0", version) == [Frame("SEND", {"url": "http://a:1"})]


def test_1_0_trims_spaces_around_names_and_values() -> None:
    assert parse(b"SEND\n destination : /a b \t\n\n\0", V10) == [Frame("SEND", {"destination": "/a b \t"})]


def test_1_0_refuses_a_name_of_spaces() -> None:
    assert refusal(b"SEND\n :a\n\n\0", V10).message == "malformed frame"


@pytest.mark.parametrize("version", [None, V11, V12])
def test_from_1_1_on_nothing_is_trimmed(version: Version | None) -> None:
    assert parse(b"SEND\n a : b \n\n\0", version) == [Frame("SEND", {" a ": " b "})]


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_of_repeated_headers_the_first_counts(version: Version) -> None:
    assert parse(b"SEND\nfoo:World\nfoo:Hello\n\n\0", version) == [Frame("SEND", {"foo": "World"})]


def test_headers_are_the_same_if_they_are_the_same_after_unescaping() -> None:
    assert parse(b"SEND\na\\cb:1\na\\cb:2\n\n\0") == [Frame("SEND", {"a:b": "1"})]


@pytest.mark.parametrize(
    ("command", "version", "name", "value"),
    [
        ("MESSAGE", V10, "a", "b\nc"),
        ("MESSAGE", V10, "a\nb", "c"),
        ("MESSAGE", V10, "a:b", "c"),
        ("MESSAGE", V10, "a", "\0"),
        ("MESSAGE", V11, "a", "b\0c"),
        ("MESSAGE", V12, "a\0", "c"),
        ("CONNECTED", V12, "user-name", "a\nrole:admin"),
        ("CONNECTED", V12, "user-name", "a\rb"),
        ("CONNECTED", V11, "a:b", "c"),
        ("CONNECTED", V12, "a", "\0"),
        ("MESSAGE", V12, "a", "\ud800"),
    ],
)
def test_a_header_that_cannot_be_written_is_refused_not_injected(
    command: str, version: Version, name: str, value: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message of UnicodeEncodeError is Python's
        encode_frame(command, [(name, value)], version=version)


def test_1_0_can_write_a_cr() -> None:
    assert encode_header("receipt-id", "a\rb", version=V10) == "receipt-id:a\rb"


def test_text_without_a_backslash_is_its_own_unescaped_form() -> None:
    assert unescape("plain", V11) == "plain"


def test_an_encoded_frame_is_exactly_these_bytes() -> None:
    wire = encode_frame("MESSAGE", [("subscription", "0"), ("a", "é:")], b"{}\n", version=V12)
    assert wire == "MESSAGE\nsubscription:0\na:é\\c\n\n{}\n\0".encode()


# "Header content-length"


def test_as_many_bytes_are_read_as_content_length_says_whatever_they_are() -> None:
    assert parse(b"SEND\ncontent-length:5\n\n\0\n\0\n\0\0SEND\n\n\0") == [
        Frame("SEND", {"content-length": "5"}, b"\0\n\0\n\0"),
        Frame("SEND", {}),
    ]


def test_without_content_length_the_first_nul_ends_the_body() -> None:
    assert parse(b"SEND\n\na\0\nSEND\n\nb\0") == [Frame("SEND", {}, b"a"), Frame("SEND", {}, b"b")]


def test_a_content_length_of_0_is_a_body_of_no_bytes() -> None:
    assert parse(b"SEND\ncontent-length:0\n\n\0") == [Frame("SEND", {"content-length": "0"})]


@pytest.mark.parametrize("body", [b"abc\0", b"abcdef\0"])
def test_a_body_of_another_length_is_refused(body: bytes) -> None:
    error = refusal(b"SEND\nreceipt:r\ncontent-length:5\n\n" + body + b"SEND\n\n\0")
    assert "content-length is 5" in error.detail
    assert error.receipt_id == "r"


@pytest.mark.parametrize("value", ["", " ", "-1", "+1", "1.0", "0x1", "1 ", "٣", "²", "1_0", "9" * 11, "1,1"])
def test_a_content_length_is_a_number_in_plain_digits(value: str) -> None:
    error = refusal(f"SEND\nreceipt:r\ncontent-length:{value}\n\n\0".encode())
    assert error.message == "malformed frame"
    assert repr(value) in error.detail
    assert error.receipt_id == "r"


def test_1_0_trims_content_length_too() -> None:
    assert parse(b"SEND\ncontent-length: 1\n\n\0\0", V10) == [Frame("SEND", {"content-length": "1"}, b"\0")]


def test_of_repeated_content_lengths_the_first_counts() -> None:
    assert parse(b"SEND\ncontent-length:1\ncontent-length:9\n\na\0")[0].body == b"a"


def test_content_length_counts_on_connect_as_well() -> None:
    assert parse(b"CONNECT\ncontent-length:1\n\n\0\0", None) == [Frame("CONNECT", {"content-length": "1"}, b"\0")]


# "Size Limits"


def sized(size: int, *, head: bytes) -> bytes:
    return head + b"x" * (size - len(head) - 1) + b"\0"


@pytest.mark.parametrize("head", [b"SEND\n\n", b"SEND\ncontent-length:75\n\n", b"SEND\n\na"])
def test_a_frame_may_be_as_large_as_the_limit(head: bytes) -> None:
    frame = sized(100, head=head)
    assert len(parse(frame + frame, max_frame_bytes=100)) == 2
    assert len(parse([frame[:-1], frame[-1:]], max_frame_bytes=100)) == 1


@pytest.mark.parametrize("data", [sized(101, head=b"SEND\nreceipt:r\n\n"), b"SEND\nreceipt:r\ncontent-length:68\n\n"])
def test_a_larger_frame_is_refused_with_its_receipt(data: bytes) -> None:
    error = refusal(data, max_frame_bytes=100)
    assert isinstance(error, FrameTooLarge)
    assert (error.message, error.detail) == ("frame too large", "the frame is larger than 100 bytes")
    assert error.receipt_id == "r"


def test_a_declared_length_is_refused_before_the_body_comes() -> None:
    assert parse(b"SEND\ncontent-length:75\n\n", max_frame_bytes=100) == []
    assert isinstance(refusal(b"SEND\ncontent-length:76\n\n", max_frame_bytes=100), FrameTooLarge)
    assert isinstance(refusal(b"SEND\ncontent-length:9999999999\n\n"), FrameTooLarge)


@pytest.mark.parametrize("head", [b"", b"SEND\n", b"SEND\n\n"])
def test_an_endless_frame_is_refused_when_it_passes_the_limit(head: bytes) -> None:
    data = head.ljust(100, b"x")
    assert parse(data, max_frame_bytes=100) == []
    assert isinstance(refusal(data + b"x", max_frame_bytes=100), FrameTooLarge)


def test_heartbeats_and_earlier_frames_do_not_count_towards_the_limit() -> None:
    frame = sized(20, head=b"SEND\n\n")
    assert len(parse([b"\n" * 50 + frame + b"\n" * 50 + frame[:15], frame[15:]], max_frame_bytes=20)) == 2


def test_a_frame_may_have_as_many_headers_as_the_limit_repeats_included() -> None:
    assert parse(b"SEND\na:1\na:2\n\n\0", max_headers=2) == [Frame("SEND", {"a": "1"})]
    error = refusal(b"SEND\na:1\na:2\na:2\n\n\0", max_headers=2)
    assert isinstance(error, FrameTooLarge)
    assert error.detail == "3 headers, at most 2 are allowed"


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_a_header_line_is_measured_in_bytes(character: str) -> None:
    line = f"a:{character * 8}"
    size = len(line.encode())
    assert parse(f"SEND\n{line}\n\n\0".encode(), max_header_bytes=size)[0].headers == {"a": character * 8}
    error = refusal(f"SEND\n{line}\n\n\0".encode(), max_header_bytes=size - 1)
    assert isinstance(error, FrameTooLarge)
    assert error.detail == f"a header line is longer than {size - 1} bytes"


def test_new_limits_hold_from_the_next_frame_on() -> None:
    parser = new_parser(limits=FrameLimits(max_frame_bytes=20))
    frame = sized(100, head=b"SEND\n\n")
    parser.feed(b"SEND\n\n\0" + frame)
    assert parser.next_frame() == Frame("SEND", {})
    parser.limits = FrameLimits(max_frame_bytes=100)
    assert drain(parser) == [Frame("SEND", {}, frame[6:-1])]


def test_a_new_version_holds_from_the_next_frame_on() -> None:
    parser = new_parser(None)
    parser.feed(b"CONNECT\na:\\c\n\n\0\nSEND\na:\\c\n\n\0")
    assert parser.next_frame() == Frame("CONNECT", {"a": "\\c"})
    parser.version = V12
    assert parser.next_frame() == Frame("SEND", {"a": ":"})


# Cost and memory


def is_linear(cost: Callable[[int], float], size: int) -> bool:
    """Four times the bytes are about four times as dear (16 would be quadratic); other processes may disturb a try."""
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


def test_a_parser_keeps_nothing_of_what_it_has_returned() -> None:
    parser = new_parser()
    data = b"SEND\n\n" + b"x" * 100_000 + b"\0" + HEARTBEAT
    holders = sys.getrefcount(data)
    parser.feed(data)
    frame = parser.next_frame()
    assert drain(parser) == []
    assert frame is not None
    assert sys.getrefcount(data) == holders


def test_a_parser_that_waits_for_the_rest_keeps_no_more_than_the_rest() -> None:
    parser = new_parser()
    frame = sized(1000, head=b"SEND\n\n")
    for _ in range(100):  # always in the middle of a frame
        parser.feed(frame[500:] + frame[:500] if parser.buffered else frame[:500])
        drain(parser)
        assert parser.buffered == 500
    assert sys.getsizeof(parser._buffer) < 5_000
