"""Heart-beats (1.2, "Heart-beating"): what both sides agreed on, and what is due now."""

import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from app.stomp.errors import ProtocolError

CHECKS_WHILE_BUSY = 4  # in an interval: what was sent is known to lie between two looks
SILENT_INTERVALS = 3  # so long may a client be silent: networks and phones are late more often than dead


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What one side offers, in ms: it can send so often, and wants to receive so often. 0: not at all."""

    send_ms: int = 0
    receive_ms: int = 0

    def __str__(self) -> str:
        return f"{self.send_ms},{self.receive_ms}"

    def agree(self, client: "Heartbeat") -> "Heartbeat":
        """What holds for this side: the slower of what one can do and the other wants, 0 if either declines."""
        return Heartbeat(_slower(self.send_ms, client.receive_ms), _slower(self.receive_ms, client.send_ms))


def _slower(able_ms: int, wanted_ms: int) -> int:
    return max(able_ms, wanted_ms) if able_ms and wanted_ms else 0


def parse_heartbeat(value: str) -> Heartbeat:
    send, _, receive = (part.strip() for part in value.partition(","))
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (send, receive)):
        raise ProtocolError("bad heart-beat", f"heart-beat is {value[:32]!r}, two numbers of ms were expected")
    return Heartbeat(int(send), int(receive))


class Due(Enum):
    """What a heart-beat timer has to do now."""

    NOTHING = "nothing"
    SEND = "send"
    LOST = "lost"


NOTHING, SEND, LOST = Due  # found once: through its class a member takes 0.15 µs, and a look needs four


class HeartbeatTimer:
    """Of one connection. What is sent is known from one look to the next only. All times are seconds of one clock."""

    __slots__ = ("_checked_s", "_send_s", "_sent_s", "_silent_s")

    def __init__(self, agreed: Heartbeat, now: float) -> None:
        self._send_s, self._silent_s = _intervals_s(agreed)
        self._sent_s = self._checked_s = now

    def check(self, now: float, late_s: float, received_s: float, has_sent: bool) -> tuple[Due, float | None]:
        """What is due, and when to look again, which may happen `late_s` later than that. None: never.

        `received_s`: when something came last. `has_sent`: something was sent since the last look.
        """
        sent_s = self._checked_s if has_sent else self._sent_s  # or since; the earliest moment is the safe one
        self._checked_s = now
        lost_s, send_s = received_s + self._silent_s, self._send_s
        if now > lost_s:
            return LOST, None
        due = NOTHING
        if now - sent_s + late_s >= send_s:
            due, sent_s = SEND, now
        self._sent_s = sent_s
        check_s = min(lost_s, sent_s + send_s - late_s)
        if has_sent:
            check_s = min(check_s, now + send_s / CHECKS_WHILE_BUSY)
        return due, check_s if check_s < math.inf else None


@lru_cache(64)
def _intervals_s(agreed: Heartbeat) -> tuple[float, float]:
    """From one beat to the next, and how long the other side may be silent."""
    send_s = agreed.send_ms / 1000 if agreed.send_ms else math.inf
    silent_s = SILENT_INTERVALS * agreed.receive_ms / 1000 if agreed.receive_ms else math.inf
    return send_s, silent_s
