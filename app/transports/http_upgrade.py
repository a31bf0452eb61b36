"""Requests to upgrade: which of them become WebSockets, and how the others are read (RFC 9110 section 7.8)."""

from collections.abc import Sequence

DRAFT_VERSIONS = (b"7", b"8")

Headers = list[tuple[bytes, bytes]]


def asks_for_websocket(method: bytes, version: str, headers: Headers) -> bool:
    """Return whether a request that names an upgrade in `Connection` can become a WebSocket.

    An upgrade over HTTP/1.0 has to be ignored. After a body the bytes on the connection would not be frames.
    """
    if method != b"GET" or version != "1.1":
        return False
    has_websocket = False
    for name, value in headers:
        if name == b"upgrade":
            has_websocket = has_websocket or b"websocket" in _names(value)
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            return False
    return has_websocket


def _names(value: bytes) -> Sequence[bytes]:
    """Of the protocols in one line; several lines are one list (RFC 9110 section 5.3)."""
    return [name.strip() for name in value.lower().split(b",")]


def handshake_headers(headers: Headers) -> Headers:
    """Return the headers as RFC 6455 has them.

    Drafts have another version and another name for the origin. Of several protocols only WebSocket is left.
    """
    if [_names(value) for name, value in headers if name == b"upgrade"] != [[b"websocket"]]:
        headers = [*(header for header in headers if header[0] != b"upgrade"), (b"upgrade", b"websocket")]
    if not any(name == b"sec-websocket-version" and value in DRAFT_VERSIONS for name, value in headers):
        return headers
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
