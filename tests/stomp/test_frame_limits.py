"""STOMP: "Header content-length" and "Size Limits" of the STOMP specifications."""

import pytest

from app.stomp.errors import FrameTooLarge
from app.stomp.frames import Frame, FrameLimits
from tests.stomp.parsing import V10, V12, drain, new_parser, parse, refusal, sized


def test_body_has_content_length_bytes_of_any_value() -> None:
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
