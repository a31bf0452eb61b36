"""Count HTTP connections, and send 503 to those that the limits refuse."""

import json
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.connections.limits import ConnectionLimits
from app.connections.refusals import RETRY_AFTER_S, Refusal
from app.errors import Unavailable
from app.http.responses import response

LIMITS = "connection_limits"
"""Key of the ConnectionLimits in the state that the lifespan of the application yields."""

PROBES, PROBE_METHODS = ("/healthz", "/readyz"), ("GET", "HEAD")
STATUS = Unavailable.status


class CountedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol. It counts if the state of the application has limits."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None, **options: Any
    ) -> None:
        """Take the arguments that uvicorn passes. `options` are for the next class."""
        super().__init__(config, server_state, app_state, _loop, **options)
        self._places: ConnectionLimits | None = app_state.get(LIMITS)
        self._rejection: Refusal | None = None
        self._is_counted = False
        self._seen: object = None  # the current request at the last call of `displace`

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._places is None:
            return
        self._is_counted = True
        self._host = self.client[0] if self.client else None
        self._rejection = self._places.open_http(self, self._host, len(self.connections))
        if self._rejection is not None:
            self.app = refusing_app(self.app, self._rejection)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._leave()

    def _leave(self) -> None:
        if self._places is None or not self._is_counted:
            return
        self._is_counted = False
        if self._rejection is None:
            self._places.close_http(self, self._host)
        else:
            self._places.close_refused(self)

    def handle_websocket_upgrade(self) -> None:
        refusal = self._rejection
        if refusal is None and self._places is not None:
            refusal = self._places.refuse_upgrade(self._host)
        if refusal is not None:
            self.transport.write(response(STATUS, problem(refusal), RAW_HEADERS))
            self.transport.close()
            return
        self._leave()
        super().handle_websocket_upgrade()

    def displace(self) -> bool:
        """Close to make room. Return False for a connection in use.

        It is if a request came since the last call, or one is running and the peer reads its response.
        """
        cycle = self.cycle
        if cycle is not None and cycle is not self._seen:
            self._seen = cycle
            return False
        if self.flow.write_paused:
            self.transport.abort()
            return True
        if cycle is not None and not cycle.response_complete:
            return False
        self.transport.close()
        return True


HEADERS = {
    "content-type": "application/problem+json",
    "retry-after": str(RETRY_AFTER_S),
    "connection": "close",
}
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def problem(refusal: Refusal) -> bytes:
    """Return the body of the response: a problem of RFC 9457, as all errors of the service are."""
    fields = {
        "type": f"urn:stomp-notify:problem:{Unavailable.slug}",
        "title": Unavailable.title,
        "status": Unavailable.status,
        "detail": refusal.text,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def refusing_app(app: ASGIApp, refusal: Refusal) -> ASGIApp:
    """Return an application that refuses all requests except probes, which `app` handles."""
    body = problem(refusal)
    headers = [*RAW_HEADERS, (b"content-length", str(len(body)).encode())]

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in PROBE_METHODS and scope["path"].endswith(PROBES):
            await app(scope, receive, closing_send(send))
            return
        await send({"type": "http.response.start", "status": STATUS, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


def closing_send(send: Send) -> Send:
    """Return a `send` that closes the connection after the response."""

    async def send_last(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_last
