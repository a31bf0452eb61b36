"""Every reason to end a session, in one place."""

import logging
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DisconnectReason:
    """Why a session ends: the WebSocket close code and its text, and how operators see it.

    Codes from 4500 up tell a client not to come back: the same attempt would fail again.
    """

    code: int
    text: str
    label: str
    log_level: int = logging.INFO

    @property
    def may_reconnect(self) -> bool:
        return self.code < 4500


NORMAL = DisconnectReason(1000, "bye", "normal")
TOO_BIG = DisconnectReason(1009, "message too big", "too_big", logging.WARNING)
INTERNAL_ERROR = DisconnectReason(1011, "internal error", "internal_error", logging.ERROR)
RESTART = DisconnectReason(1012, "service restart", "restart")
TRY_AGAIN = DisconnectReason(1013, "try again later", "try_again", logging.WARNING)
DISPLACED = DisconnectReason(1013, "too many connections, try again later", "displaced")
SLOW_CONSUMER = DisconnectReason(4008, "slow consumer", "slow_consumer", logging.WARNING)
CONNECT_TIMEOUT = DisconnectReason(4011, "no CONNECT in time", "connect_timeout")
HEARTBEAT_LOST = DisconnectReason(4012, "no heart-beat", "heartbeat_lost")
RATE_LIMITED = DisconnectReason(4013, "rate limit exceeded", "rate_limited", logging.WARNING)
BAD_REQUEST = DisconnectReason(4501, "bad request", "bad_request", logging.WARNING)
FORCED = DisconnectReason(4503, "closed by an operator", "forced")
SESSION_LIMIT = DisconnectReason(4504, "too many sessions", "session_limit", logging.WARNING)
REPLACED = DisconnectReason(4505, "replaced", "replaced")  # by a newer session of the same device
FORBIDDEN = DisconnectReason(4507, "forbidden", "forbidden", logging.WARNING)
BAD_TOKEN = DisconnectReason(4510, "bad or expired token", "bad_token", logging.WARNING)
# The client went away by itself; 1006 is never sent on the wire (RFC 6455 section 7.4.1).
GONE = DisconnectReason(1006, "connection lost", "gone")
