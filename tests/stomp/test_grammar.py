"""STOMP: "STOMP Frames" and their grammar, by example."""

import pytest

from app.stomp.codec import HEARTBEAT
from app.stomp.frames import Frame, Version
from tests.stomp.parsing import EVERY_VERSION, LINES_END_WITH_LF_ONLY, V12, drain, new_parser, parse, refusal


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
def test_nul_before_the_blank_line_is_refused(data: bytes, version: Version | None) -> None:
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
