"""Decode the content codings of request bodies (RFC 9110 section 8.4.1), within the size limit of a body."""

import zlib
from collections.abc import Sequence
from typing import Final

from app.errors import InvalidMessage, PayloadTooLarge, UnsupportedCoding

ACCEPTED: Final = "gzip, deflate"
MAX_MEMBERS = 16  # of a gzip body; many empty ones would take much time
GZIP, ZLIB, RAW = 31, 15, -15  # `wbits`

_FORMATS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}


def require_known(codings: Sequence[str]) -> None:
    """Check the values of Content-Encoding before the body is read. Raises UnsupportedCoding."""
    if _name(codings) not in ("identity", *_FORMATS):
        raise UnsupportedCoding(f"Content-Encoding is {', '.join(codings)[:64]!r}, one of {ACCEPTED} was expected")


def _name(codings: Sequence[str]) -> str:
    """Return the coding in lower case. Several codings in one request are not supported, and give no known name."""
    return ", ".join(codings).strip().lower()


def inflate(body: bytes, codings: Sequence[str], limit: int) -> bytes:
    """Return the decoded body, at most `limit` bytes. Raises InvalidMessage and PayloadTooLarge."""
    wbits = _FORMATS.get(_name(codings)) if codings else None
    if wbits is None:
        return body
    if wbits == ZLIB and not _has_zlib_header(body):
        wbits = RAW  # many clients send it as deflate
    parts: list[bytes] = []
    room = limit
    while body and len(parts) < MAX_MEMBERS:
        part, body = _inflate_member(body, wbits, room, limit)
        parts.append(part)
        room -= len(part)
        if wbits != GZIP:
            break
    if body:
        raise InvalidMessage("the body goes on after the end of its compressed content")
    return b"".join(parts)


def _inflate_member(body: bytes, wbits: int, room: int, limit: int) -> tuple[bytes, bytes]:
    """Return the content of the first member, and the rest of the body."""
    stream = zlib.decompressobj(wbits)
    try:
        part = stream.decompress(body, room + 1)
    except zlib.error as error:
        raise InvalidMessage(f"the body does not inflate: {error}") from None
    if len(part) > room:
        raise PayloadTooLarge(f"the body inflates to more than the {limit} bytes that are allowed")
    if not stream.eof:
        raise InvalidMessage("the body ends in the middle of its compressed content")
    return part, stream.unused_data


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
