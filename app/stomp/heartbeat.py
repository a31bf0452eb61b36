"""Heart-beats (1.2, "Heart-beating"): negotiate intervals, and find what is due."""

import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from app.stomp.errors import ProtocolError

CHECKS_WHILE_BUSY = 4  # in an interval: sends are noted between two checks, not timed
SILENT_INTERVALS = 3  # before a client is lost: networks and phones are late more often than dead


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Intervals in ms that one side offers for sending and wants for receiving. 0: none."""

    send_ms: int = 0
    receive_ms: int = 0

    def __str__(self) -> str:
        return f"{self.send_ms},{self.receive_ms}"

    def agree(self, client: "Heartbeat") -> "Heartbeat":
        """Return the agreed intervals of this side: the longer of offered and wanted, 0 if either is 0."""
        return Heartbeat(_slower(self.send_ms, client.receive_ms), _slower(self.receive_ms, client.send_ms))


def _slower(able_ms: int, wanted_ms: int) -> int:
    return max(able_ms, wanted_ms) if able_ms and wanted_ms else 0


def parse_heartbeat(value: str) -> Heartbeat:
    """Parse the header `heart-beat`. Raises ProtocolError."""
    send, _, receive = (part.strip() for part in value.partition(","))
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in (send, receive)):
        raise ProtocolError("bad heart-beat", f"heart-beat is {value[:32]!r}, two numbers of ms were expected")
    return Heartbeat(int(send), int(receive))


class Due(Enum):
    """What the owner of a heart-beat timer has to do now."""

    NOTHING = "nothing"
    SEND = "send"
    LOST = "lost"


NOTHING, SEND, LOST = Due  # access through the class takes 0.15 µs, and a check needs four


class HeartbeatTimer:
    """The heart-beats of one connection. Times are in seconds of one clock.

    Sends are a flag between checks, not timestamps, so that sending costs nothing.
    """

    __slots__ = ("_checked_s", "_send_s", "_sent_s", "_silent_s")

    def __init__(self, agreed: Heartbeat, now: float) -> None:
        self._send_s, self._silent_s = _intervals_s(agreed)
        self._sent_s = self._checked_s = now

    def check(self, now: float, late_s: float, received_s: float, has_sent: bool) -> tuple[Due, float | None]:
        """Return what is due, and the time of the next check; None: no further check.

        A check may happen up to `late_s` late. `received_s` is when data last arrived. `has_sent`: data was sent since
        the last check.
        """
        sent_s = self._checked_s if has_sent else self._sent_s  # at the earliest
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
    """Return the time from one beat to the next, and how long the other side may be silent."""
    send_s = agreed.send_ms / 1000 if agreed.send_ms else math.inf
    silent_s = SILENT_INTERVALS * agreed.receive_ms / 1000 if agreed.receive_ms else math.inf
    return send_s, silent_s
