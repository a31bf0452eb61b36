"""HTTP answers to a handshake."""

import email.utils
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

STATUSES = frozenset(HTTPStatus)


def phrase_of(status: int) -> str:
    """Empty for a status that is not registered, which an application may have all the same."""
    return HTTPStatus(status).phrase if status in STATUSES else ""


def plain_response(status: int, body: bytes | None = None) -> Response:
    """`body`: the phrase of the status unless given."""
    phrase = phrase_of(status)
    body = phrase.encode() if body is None else body
    headers = Headers()
    headers["Date"] = email.utils.formatdate(usegmt=True)
    headers["Connection"] = "close"
    headers["Content-Length"] = str(len(body))
    headers["Content-Type"] = "text/plain; charset=utf-8"
    return Response(status, phrase, headers, body)


def decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
