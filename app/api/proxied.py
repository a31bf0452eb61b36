"""What trusted proxies say of a request, and the path prefix that the service is reached under."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.connections.proxies import TrustedProxies, parse_prefix

OWN_SEGMENTS = {"api", "docs", "static", "static-offline-docs", "stomp-ws", "vh-stomp-wsend"}
"""How paths of the service begin that have more than one segment."""

SCHEMES = {b"http", b"https", b"ws", b"wss"}


class Proxied:
    """Middleware that makes `client`, `scheme` and `root_path` of the scope what the client sees.

    uvicorn's own knows neither Forwarded, prefixes nor Unix sockets, takes what is not an address for one, and does
    not find IPv4 addresses in IPv6 form in its networks.
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
                    prefix = self._believe(scope) or prefix
            if prefix:
                _put_under(prefix, scope)
        return self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> str | None:
        """Return the prefix."""
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
    """ASGI wants the path with the prefix. A proxy may have cut it off.

    Whether a path of /api is one of the service or has the prefix /api cannot be known: such a prefix counts as cut
    off.
    """
    path = scope["path"]
    if path == prefix:
        scope["path"], scope["raw_path"] = prefix + "/", prefix.encode() + b"/"
    elif not path.startswith(prefix + "/") or prefix.split("/")[1] in OWN_SEGMENTS:
        scope["path"] = prefix + path
        scope["raw_path"] = prefix.encode() + scope.get("raw_path", b"")
    scope["root_path"] = prefix + scope.get("root_path", "")
