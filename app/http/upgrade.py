"""Requests to upgrade: which of them become WebSockets, and how the others are read (RFC 9110 section 7.8)."""

from collections.abc import Sequence

from app.http.headers import header_tokens

DRAFT_VERSIONS = (b"7", b"8")

Headers = list[tuple[bytes, bytes]]


def websocket_headers(method: bytes, version: str, headers: Headers) -> Headers | None:
    """Return the headers of a handshake as RFC 6455 has them, or None if the request cannot become a WebSocket.

    An upgrade over HTTP/1.0 has to be ignored. After a body the bytes on the connection would not be frames.
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
    return _as_of_rfc6455(headers) if by_name.get(b"sec-websocket-version") in DRAFT_VERSIONS else headers


def _protocols(headers: Headers) -> Sequence[bytes]:
    return [protocol.lower() for protocol in header_tokens(headers, b"upgrade")]


def _as_of_rfc6455(headers: Headers) -> Headers:
    """Drafts have another version, and another name for the origin."""
    replaced = {b"sec-websocket-version"}
    if any(name == b"sec-websocket-origin" for name, _ in headers):
        replaced.add(b"origin")
    others = [(name, value) for name, value in headers if name not in replaced]
    renamed = [(b"origin" if name == b"sec-websocket-origin" else name, value) for name, value in others]
    return [*renamed, (b"sec-websocket-version", b"13")]


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of a request whose upgrade is ignored, for a parser that then reads its body.

    The parser ends a message at a head that asks for an upgrade, and leaves the body to others.
    """
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), b"".join(lines))
