"""Requests behind trusted proxies: the client's address, the scheme, and the path prefix of the service."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.connections.proxies import TrustedProxies, parse_prefix

OWN_SEGMENTS = {"api", "docs", "static", "static-offline-docs", "stomp-ws", "vh-stomp-wsend"}
"""First segments of the service's paths that have more than one segment."""

SCHEMES = {b"http", b"https", b"ws", b"wss"}


class Proxied:
    """Middleware that sets `client`, `scheme` and `root_path` of the scope from the headers of trusted proxies.

    uvicorn's own middleware does not know Forwarded, prefixes and Unix sockets, accepts values that are no addresses,
    and does not find IPv4-mapped IPv6 addresses in IPv4 networks.
    """

    def __init__(self, app: ASGIApp, *, proxies: TrustedProxies, root_path: str) -> None:
        self._app = app
        self._proxies = proxies
        self._root_path = root_path

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "lifespan":
            prefix = self._root_path
            if self._proxies:
                client = scope.get("client")
                if self._proxies.trusts(client[0] if client else None):
                    prefix = self._apply_headers(scope) or prefix
            if prefix:
                _put_under(prefix, scope)
        return self._app(scope, receive, send)

    def _apply_headers(self, scope: Scope) -> str | None:
        """Set client and scheme from the headers. Return the prefix that they name, or None."""
        forwarded_for, forwarded, prefix = [], [], None
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded_for.append(value.decode("latin-1"))
            elif name == b"forwarded":
                forwarded.append(value.decode("latin-1"))
            elif name == b"x-forwarded-proto" and value in SCHEMES:
                is_secure = value in (b"https", b"wss")
                plain = "ws" if scope["type"] == "websocket" else "http"
                scope["scheme"] = plain + "s" * is_secure
            elif name == b"x-forwarded-prefix":
                prefix = parse_prefix(value.decode("latin-1"))
        client = self._proxies.client_of(forwarded_for, forwarded)
        if client is not None:
            scope["client"] = client
        return prefix


def _put_under(prefix: str, scope: Scope) -> None:
    """Put the prefix into `root_path` and, where a proxy has removed it, back into the path, as ASGI requires.

    With the prefix /api it is ambiguous whether the path /api/… contains the prefix. Such a prefix counts as removed.
    """
    path = scope["path"]
    if path == prefix:
        scope["path"], scope["raw_path"] = prefix + "/", prefix.encode() + b"/"
    elif not path.startswith(prefix + "/") or prefix.split("/")[1] in OWN_SEGMENTS:
        scope["path"] = prefix + path
        scope["raw_path"] = prefix.encode() + scope.get("raw_path", b"")
    scope["root_path"] = prefix + scope.get("root_path", "")
