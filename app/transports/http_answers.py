"""HTTP answers to a handshake that opens nothing."""

import email.utils
from collections.abc import Iterable
from http import HTTPStatus

RawHeaders = Iterable[tuple[bytes, bytes]]

STATUSES = frozenset(HTTPStatus)


def response(status: int, body: bytes | None = None, headers: RawHeaders = ()) -> bytes:
    """The whole of it; the connection ends with it. `body`: the phrase of the status unless given.

    Given headers take the place of those that every answer has. A status that is not registered, which an application
    may have all the same, has no phrase.
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
