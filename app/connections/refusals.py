"""Reasons to refuse or displace a connection. Each is logged at most once a minute."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

LOG_PERIOD_S = 60.0
RETRY_AFTER_S = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`label` is for metrics, `text` for the client, `advice` for operators."""

    label: str
    text: str
    advice: str


NODE_FULL = Refusal(
    "node_full",
    "this node has as many connections as it may have; try again later",
    "MAX_CONNECTIONS is reached: raise it, or start another node",
)
FILE_LIMIT = Refusal(
    "file_limit",
    "this node has as many connections as it may have; try again later",
    "the limit of open files (RLIMIT_NOFILE) is reached: raise it (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile"
    " of Docker), or start another node",
)
ADDRESS_FULL = Refusal(
    "address_full",
    "there are too many connections from your address; try again later",
    "MAX_CONNECTIONS_PER_ADDRESS is reached; if the address is that of a proxy, name it in TRUSTED_PROXIES",
)
TOO_FAST = Refusal(
    "too_fast",
    "there are too many attempts to connect from your address; try again later",
    "MAX_ATTEMPTS_PER_S is exceeded; if the address is that of a proxy, name it in TRUSTED_PROXIES",
)
SOCKJS_FULL = Refusal(
    "sockjs_full",
    "there are too many SockJS sessions on this node; try again later",
    "SOCKJS_MAX_SESSIONS is reached: raise it, or start another node",
)
DISPLACED = Refusal(
    "displaced",
    "this connection had to make room for others before it was authenticated; try again later",
    "MAX_UNAUTHENTICATED or another limit is reached, and unauthenticated connections made room; this may be an attack",
)

ALL = (NODE_FULL, FILE_LIMIT, ADDRESS_FULL, TOO_FAST, SOCKJS_FULL, DISPLACED)


class Refusals:
    """Counts and logs refusals. `now` returns seconds of a monotonic clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.counts: Counter[Refusal] = Counter()
        self._now = now
        self._logged: dict[Refusal, tuple[float, int]] = {}

    def count(self, refusal: Refusal, key: str) -> Refusal:
        """Count a refusal of an address. Log it unless one for this reason was logged within a minute."""
        self.counts[refusal] += 1
        now_s = self._now()
        logged_s, logged = self._logged.get(refusal, (-LOG_PERIOD_S, 0))
        if now_s - logged_s >= LOG_PERIOD_S or not logged:
            self._logged[refusal] = now_s, self.counts[refusal]
            logger.warning(
                "connections refused: %d (%s), the last from %s: %s",
                self.counts[refusal] - logged,
                refusal.label,
                key or "an unknown address",
                refusal.advice,
            )
        return refusal
