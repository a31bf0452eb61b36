"""STOMP: "Value Encoding": escapes of the versions, by example."""

import pytest

from app.stomp.codec import encode_frame, encode_header, unescape
from app.stomp.frames import Frame, Version
from tests.stomp.parsing import EVERY_VERSION, V10, V11, V12, parse, refusal


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
def test_receipt_is_only_read_from_a_complete_and_valid_header_line(data: bytes) -> None:
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
    # The grammar forbids it, but many clients do it, and it is unambiguous.
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
def test_header_that_cannot_be_expressed_raises_instead_of_injecting(
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
