"""SockJS frames: `o`pen, `h`eart-beat, `a`rray of messages, `c`lose, in UTF-8."""

import json
import re
from collections.abc import Iterable
from json.encoder import encode_basestring

MAX_MESSAGES = 10_000  # of one array: a hundred thousand empty ones would keep everybody else waiting

OPEN = b"o"
HEARTBEAT = b"h"

# "Another connection still open" and "Go away!" are the protocol's own; 1002 is what its tests know.
ANOTHER_CONNECTION = (2010, "Another connection still open")
INTERRUPTED = (1002, "Connection interrupted")

# Browsers mangle these on one transport or another, beside the control characters that JSON escapes by itself. Halves
# of surrogate pairs are text to JavaScript and cannot be written in UTF-8.
_MANGLED = re.compile("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff\ud800-\udfff]")


class BrokenJson(ValueError):
    """Raised for a body that is not a JSON array of messages, or has more than MAX_MESSAGES."""


class NoPayload(ValueError):
    """Raised for a body that is empty or not an array."""


def quote(text: str) -> bytes:
    """Encode a message as a JSON string that every transport passes unchanged."""
    return _MANGLED.sub(_escape, encode_basestring(text)).encode()


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def encode_array(quoted: Iterable[bytes]) -> bytes:
    """Encode an array of messages that `quote` returned."""
    return b"a[%b]" % b",".join(quoted)


def encode_close(code: int, text: str) -> bytes:
    return b"c[%d,%b]" % (code, quote(text))


def decode_array(body: bytes) -> list[str]:
    """Return the messages of a sending request. Raises NoPayload and BrokenJson."""
    if not body:
        raise NoPayload
    value = _parse(body)
    if not isinstance(value, list):
        raise NoPayload
    return _messages(value)


def decode_message(data: bytes) -> list[str]:
    """Return the messages of a WebSocket message: an array of strings, one string, or nothing. Raises BrokenJson."""
    if not data:
        return []
    value = _parse(data)
    return _messages(value if isinstance(value, list) else [value])


def _parse(data: bytes) -> object:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        raise BrokenJson from None


def _messages(values: list[object]) -> list[str]:
    if len(values) > MAX_MESSAGES or not all(isinstance(value, str) for value in values):
        raise BrokenJson
    return values  # type: ignore[return-value]  # just looked at
