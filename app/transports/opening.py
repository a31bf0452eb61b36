"""The opening of every WebSocket for STOMP: allowed origins and the subprotocol."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.connections.addresses import format_client
from app.hub.outbox import OutboxLimits

# In order of preference. They are registered with IANA (RFC 6455 section 11.5).
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """`allowed_origins` are origins of browser pages; `*` allows all. The service's own origin is always allowed."""

    allowed_origins: tuple[str, ...] = ()
    outbox: OutboxLimits = field(default_factory=OutboxLimits)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Return whether an origin may connect. Programs other than browsers send none (RFC 6455 section 10.2)."""
        if origin is None or "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        return bool(host) and _authority(origin) == host


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the preferred subprotocol of those that the client offers."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)


def remote_of(websocket: WebSocket) -> str | None:
    return format_client(websocket.scope.get("client"))


async def open_websocket(websocket: WebSocket, options: WebSocketOptions) -> bool:
    """Accept the connection. Return False if its origin is not allowed, or the client has disconnected."""
    headers = websocket.headers
    if not options.allows(headers.get("origin"), headers.get("host")):
        logger.warning("the origin %r is not allowed", headers.get("origin"))
        await websocket.close()
        return False
    try:
        await websocket.accept(choose_subprotocol(websocket.scope["subprotocols"]))
    except WebSocketDisconnect:
        return False
    return True
