"""Encode HTTP responses that close their connection: to refused handshakes and to invalid requests."""

import email.utils
import json
from collections.abc import Sequence
from http import HTTPStatus

from app.http.headers import RawHeaders

STATUSES = frozenset(HTTPStatus)


def response(status: int, body: bytes | None = None, headers: RawHeaders = ()) -> bytes:
    """Return a whole response. The body defaults to the phrase of the status.

    Given headers replace default ones. An unregistered status, which an application may use, has no phrase.
    """
    phrase = HTTPStatus(status).phrase.encode() if status in STATUSES else b""
    body = phrase if body is None else body
    given = {name.lower() for name, _ in headers}
    defaults = [
        (b"date", email.utils.formatdate(usegmt=True).encode()),
        (b"connection", b"close"),
        (b"content-length", str(len(body)).encode()),
        (b"content-type", b"text/plain; charset=utf-8"),
    ]
    lines = [*headers, *[header for header in defaults if header[0] not in given]]
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, b"".join([b"%b: %b\r\n" % line for line in lines]))
    return head + body


def problem(status: int, detail: str) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
    """Return headers and body of an error outside of all routes, in the format of the routes (RFC 9457)."""
    title = HTTPStatus(status).phrase
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    length = (b"content-length", str(len(body)).encode())
    return [(b"content-type", b"application/problem+json"), length], body
