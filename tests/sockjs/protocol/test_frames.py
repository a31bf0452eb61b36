"""What goes around messages, and what comes out of them."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sockjs.protocol.frames import (
    MAX_MESSAGES,
    BrokenJson,
    NoPayload,
    decode_array,
    decode_message,
    encode_array,
    encode_close,
    quote,
)

ANY_TEXT = st.text(st.characters())  # halves of surrogate pairs included


@given(st.lists(ANY_TEXT))
def test_array_is_json_in_utf8_and_nothing_is_lost(messages: list[str]) -> None:
    frame = encode_array([quote(message) for message in messages])

    assert frame[:1] == b"a"
    assert json.loads(frame[1:].decode()) == messages
    assert decode_array(frame[1:]) == messages


@pytest.mark.parametrize(
    "character", [*map(chr, range(0x20)), *"\u200c\u200f\u2028\u202f\u2060\u206f\ufff0\ufffe\uffff\ud800\udbff\udfff"]
)
def test_what_browsers_mangle_is_escaped(character: str) -> None:
    assert character.encode("utf-8", "surrogatepass") not in quote(f"x{character}x")


def test_escapes_are_of_four_small_digits() -> None:
    assert quote("\u2028\uffff\ud83d") == b'"\\u2028\\uffff\\ud83d"'


def test_other_text_stays_as_short_as_it_is() -> None:
    assert quote('你好 ü "\\" 😀') == '"你好 ü \\"\\\\\\" 😀"'.encode()


def test_close_has_a_code_and_a_quoted_text() -> None:
    assert encode_close(3000, "Go away!") == b'c[3000,"Go away!"]'
    assert encode_close(1006, 'say "x"') == b'c[1006,"say \\"x\\""]'


@pytest.mark.parametrize("body", [b"", b"{}", b'"text"', b"1", b"null"])
def test_request_without_an_array_has_no_payload(body: bytes) -> None:
    with pytest.raises(NoPayload):
        decode_array(body)


@pytest.mark.parametrize(
    "body", [b'["x', b"[1]", b"[null]", b'["a",["b"]]', b'["\xff"]', b"[" * 100_000, b"[" + b"9" * 10_000 + b"]", b"x"]
)
def test_what_is_no_list_of_texts_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenJson):
        decode_array(body)
    with pytest.raises(BrokenJson):
        decode_message(body)


@pytest.mark.parametrize("decode", [decode_array, decode_message])
def test_array_has_no_more_messages_than_are_handled_in_one_go(decode: Callable[[bytes], list[str]]) -> None:
    assert len(decode(json.dumps([""] * MAX_MESSAGES).encode())) == MAX_MESSAGES
    with pytest.raises(BrokenJson):
        decode(json.dumps([""] * (MAX_MESSAGES + 1)).encode())


def test_array_may_be_empty() -> None:
    assert decode_array(b"[]") == []


@pytest.mark.parametrize(
    ("data", "messages"),
    [(b"", []), (b'["a","b"]', ["a", "b"]), (b'"a"', ["a"]), (b"[]", []), (b'["\\ud800"]', ["\ud800"])],
)
def test_websocket_message_is_an_array_or_one_text(data: bytes, messages: list[str]) -> None:
    assert decode_message(data) == messages


@pytest.mark.parametrize("data", [b"1", b"{}", b"null", b'["a'])
def test_websocket_message_of_anything_else_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenJson):
        decode_message(data)
