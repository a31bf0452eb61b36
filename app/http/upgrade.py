"""Requests with an upgrade: decide which become WebSockets, and prepare the others (RFC 9110 section 7.8)."""

from collections.abc import Sequence

from app.http.headers import header_tokens

Headers = list[tuple[bytes, bytes]]


def websocket_headers(method: bytes, version: str, headers: Headers) -> Headers | None:
    """Return the headers of a handshake, with one `Upgrade: websocket`; None if the request cannot become a WebSocket.

    An upgrade over HTTP/1.0 must be ignored. A request with a body cannot become one: what follows would not be frames.
    """
    if method != b"GET" or version != "1.1":
        return None
    by_name = dict(headers)
    is_simple = len(by_name) == len(headers) and by_name[b"upgrade"] in (b"websocket", b"WebSocket")
    if not is_simple and b"websocket" not in _protocols(headers):
        return None
    if b"transfer-encoding" in by_name or by_name.get(b"content-length", b"0").strip(b"0"):
        return None
    if not is_simple:
        headers = [*(header for header in headers if header[0] != b"upgrade"), (b"upgrade", b"websocket")]
    return headers


def _protocols(headers: Headers) -> Sequence[bytes]:
    return [protocol.lower() for protocol in header_tokens(headers, b"upgrade")]


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of a request without its upgrade, so that a parser also reads the body.

    The parser stops after a head with an upgrade.
    """
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), b"".join(lines))
