"""What every WebSocket of STOMP has in common: who may open one, and which subprotocol it gets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.hub.outbox import OutboxLimits

# In the order of preference; their registration is RFC 6455 section 11.5's list.
SUBPROTOCOLS = ("v12.stomp", "v11.stomp", "v10.stomp")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """`allowed_origins` of browser pages; `*` allows all. The own origin is always allowed."""

    allowed_origins: tuple[str, ...] = ()
    outbox: OutboxLimits = field(default_factory=OutboxLimits)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Programs other than browsers send no Origin (RFC 6455 section 10.2): their token has to do."""
        if origin is None or "*" in self.allowed_origins or origin in self.allowed_origins:
            return True
        return bool(host) and _authority(origin) == host


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    return next((name for name in SUBPROTOCOLS if name in offered), None)
