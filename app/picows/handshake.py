"""The server's side of the opening handshake (RFC 6455 section 4.2).

A library took a tenth of the whole cost of a connection for it. The input is complete and well-formed: uvicorn has
parsed the request and written it out again, one header a line.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from http import HTTPStatus

from app.http.headers import RawHeaders, header_tokens, header_values
from app.http.responses import response

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = b"13"
KEY_BYTES = 16
BODY_HEADERS = (b"content-length", b"transfer-encoding")  # a body would be read as frames
MAX_HEADERS = 128
MAX_LINE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Handshake:
    """A request that may be accepted. `path` is undecoded and includes the query; header names are in lower case."""

    path: bytes
    headers: RawHeaders
    key: bytes

    @property
    def subprotocols(self) -> list[str]:
        return [name.decode("latin-1") for name in header_tokens(self.headers, b"sec-websocket-protocol")]

    def accept(self, headers: RawHeaders) -> bytes:
        """Return the response that opens the connection, with the application's headers."""
        accept = base64.b64encode(hashlib.sha1(self.key + ACCEPT, usedforsecurity=False).digest())
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        )
        return b"%b%b\r\n%b\r\n" % (head, accept, b"".join([b"%b: %b\r\n" % header for header in headers]))


def read_handshake(data: bytes) -> Handshake | bytes:
    """Parse the request. Return the response to it if it cannot be accepted."""
    request, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, _, target = request.removesuffix(b" HTTP/1.1").partition(b" ")
    if method != b"GET":
        return response(HTTPStatus.METHOD_NOT_ALLOWED, headers=[(b"allow", b"GET")])
    if len(target) > MAX_LINE_BYTES:
        return response(HTTPStatus.REQUEST_URI_TOO_LONG)
    if len(lines) > MAX_HEADERS or max(map(len, lines), default=0) > MAX_LINE_BYTES:
        return response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    headers = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
    if not _asks_for_websocket(headers):
        return response(HTTPStatus.UPGRADE_REQUIRED, headers=[(b"upgrade", b"websocket")])
    if header_values(headers, b"sec-websocket-version") != [VERSION]:
        return response(HTTPStatus.UPGRADE_REQUIRED, headers=[(b"sec-websocket-version", VERSION)])
    if any(name in BODY_HEADERS and value != b"0" for name, value in headers):
        return response(HTTPStatus.BAD_REQUEST, b"a handshake has no body")
    keys = header_values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return response(HTTPStatus.BAD_REQUEST, b"Sec-WebSocket-Key: 16 bytes in base64 were expected")
    return Handshake(target, headers, keys[0])


def _asks_for_websocket(headers: RawHeaders) -> bool:
    words = [word.lower() for word in header_tokens(headers, b"connection")]
    return b"upgrade" in words and [word.lower() for word in header_tokens(headers, b"upgrade")] == [b"websocket"]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
