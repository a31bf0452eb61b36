"""How frames look in the responses of each transport."""

import pytest

from app.sockjs.protocol.frames import encode_array, quote
from app.sockjs.protocol.paths import Action
from app.sockjs.protocol.receivers import OLD_RECEIVERS, RECEIVERS, callback_problem

FRAME = b'a["x"]'


@pytest.mark.parametrize(
    ("action", "wrapped"),
    [
        (Action.XHR, b'a["x"]\n'),
        (Action.XHR_STREAMING, b'a["x"]\n'),
        (Action.EVENTSOURCE, b'data: a["x"]\r\n\r\n'),
        (Action.HTMLFILE, b'<script>\np("a[\\"x\\"]");\n</script>\r\n'),
        (Action.JSONP, b'/**/cb("a[\\"x\\"]");\r\n'),
    ],
)
def test_each_transport_writes_frames_its_own_way(action: Action, wrapped: bytes) -> None:
    assert RECEIVERS[action].wrap(FRAME, "cb") == wrapped


def test_old_jsonp_has_no_comment() -> None:
    assert OLD_RECEIVERS[Action.JSONP].wrap(b"o", "cb") == b'cb("o");\r\n'


def test_preludes_are_what_browsers_wait_for() -> None:
    assert RECEIVERS[Action.XHR_STREAMING].prelude("") == b"h" * 2048 + b"\n"
    assert RECEIVERS[Action.EVENTSOURCE].prelude("") == b"\r\n"
    html = RECEIVERS[Action.HTMLFILE].prelude("cb.x")
    assert len(html) > 1024
    assert html.startswith(b"<!doctype html>")
    assert b"var c = parent.cb.x;" in html
    assert RECEIVERS[Action.XHR].prelude("") == RECEIVERS[Action.JSONP].prelude("cb") == b""


def test_no_message_ends_the_script_that_brings_it() -> None:
    frame = encode_array([quote("</script><script>alert(1)</script>\u2028")])

    wrapped = RECEIVERS[Action.HTMLFILE].wrap(frame, "cb")

    assert wrapped.count(b"<") == 2  # the element's own
    assert "\u2028".encode() not in wrapped


@pytest.mark.parametrize("callback", ["cb", "_jp.abc_1-2", "a" * 256])
def test_callback_is_a_name(callback: str) -> None:
    assert callback_problem(callback) is None


@pytest.mark.parametrize("callback", [None, ""])
def test_callback_is_required(callback: str | None) -> None:
    assert callback_problem(callback) == '"callback" parameter required'


@pytest.mark.parametrize("callback", [" ", "*", "abc(", "a;b", "a\n", "ü", "a" * 257, "<script>"])
def test_callback_is_nothing_else(callback: str) -> None:
    assert callback_problem(callback) == 'invalid "callback" parameter'
