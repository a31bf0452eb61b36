"""SEND frames that need no care, as nearly all that clients send: read without the parser.

Clients say the same all the time. The head of "SEND, destination:/app/ack" is looked at once for all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from app.stomp.frames import FrameLimits

LONGEST_HEAD_BYTES = 128  # a longer one will not come again
_SHORTEST_LINE_BYTES = 3
_SEND, _BLANK_LINE = b"SEND\n", b"\n\n"


@dataclass(frozen=True, slots=True)
class PlainHead:
    """`text` is all before the body."""

    text: bytes
    destination: str
    headers: Mapping[str, str]
    receipt: str | None
    content_length: int | None


NO_HEAD = PlainHead(b"\0", "", {}, None, -2)  # no body has this length


def find_plain_head(data: bytes) -> PlainHead | None:
    """Of a SEND of STOMP 1.1 or 1.2 that begins here. None if there is something in it that needs care: an escape,
    another line end, a transaction, a mistake.
    """
    end = data.find(_BLANK_LINE, 0, LONGEST_HEAD_BYTES)
    return _read(data[: end + len(_BLANK_LINE)]) if end >= 0 else None


@lru_cache(maxsize=256)
def _read(text: bytes) -> PlainHead | None:
    if not text.startswith(_SEND) or b"\0" in text:
        return None
    headers = _plain_headers(text[len(_SEND) : -len(_BLANK_LINE)])
    if headers is None or "transaction" in headers:
        return None
    destination, length = headers.get("destination"), headers.get("content-length")
    if not destination or not (length is None or _is_number(length)):
        return None
    return PlainHead(
        text, destination, MappingProxyType(headers), headers.get("receipt"), None if length is None else int(length)
    )


def _plain_headers(lines: bytes) -> dict[str, str] | None:
    """None if there is something in them that needs care: an escape, another line end, a mistake."""
    if not lines.isascii() or b"\\" in lines or b"\r" in lines:
        return None
    headers: dict[str, str] = {}
    if lines:
        for line in lines.decode().split("\n"):
            name, colon, value = line.partition(":")
            if not (colon and name):
                return None
            headers.setdefault(name, value)
    return headers


def _is_number(text: str) -> bool:
    return text.isdigit() and (text == "0" or not text.startswith("0"))


def fits_plain_heads(limits: FrameLimits) -> bool:
    """Whether no head that is read here can be beyond the limits."""
    return (
        limits.max_header_bytes >= LONGEST_HEAD_BYTES
        and limits.max_headers * _SHORTEST_LINE_BYTES >= LONGEST_HEAD_BYTES
    )
