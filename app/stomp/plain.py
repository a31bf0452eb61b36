"""Parse the heads of plain SEND frames, and remember them.

Nearly all frames of clients are SENDs to `/app/ack` with the same few heads. Each head is parsed once for all clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from app.stomp.frames import FrameLimits

LONGEST_HEAD_BYTES = 128  # longer ones seldom repeat
_SHORTEST_LINE_BYTES = 3
SEND_LINE, _BLANK_LINE = b"SEND\n", b"\n\n"


@dataclass(frozen=True, slots=True)
class PlainHead:
    """The head of a SEND without escapes. `text` is everything before the body."""

    text: bytes
    destination: str
    headers: Mapping[str, str]
    receipt: str | None
    content_length: int | None


NO_HEAD = PlainHead(b"\0", "", {}, None, -2)  # no body has this length


def find_plain_head(data: bytes) -> PlainHead | None:
    """Return the head of data that begins with `SEND_LINE`, of STOMP 1.1 or 1.2.

    None: the parser has to read it, because of an escape, a CR, a transaction, or something invalid.
    """
    end = data.find(_BLANK_LINE, 0, LONGEST_HEAD_BYTES)
    return _read(data[: end + len(_BLANK_LINE)]) if end >= 0 else None


@lru_cache(maxsize=256)
def _read(text: bytes) -> PlainHead | None:
    if b"\0" in text:
        return None
    headers = _plain_headers(text[len(SEND_LINE) : -len(_BLANK_LINE)])
    if headers is None or "transaction" in headers:
        return None
    destination, length = headers.get("destination"), headers.get("content-length")
    if not destination or not (length is None or _is_number(length)):
        return None
    return PlainHead(
        text, destination, MappingProxyType(headers), headers.get("receipt"), None if length is None else int(length)
    )


def _plain_headers(lines: bytes) -> dict[str, str] | None:
    """Return the headers; None if there is an escape, a CR, a character beyond ASCII or something invalid."""
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
    """Return whether every head that is read here is within the limits."""
    return (
        limits.max_header_bytes >= LONGEST_HEAD_BYTES
        and limits.max_headers * _SHORTEST_LINE_BYTES >= LONGEST_HEAD_BYTES
    )
