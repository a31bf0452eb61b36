"""Heart-beats (1.2, "Heart-beating"): what both sides agreed on, and what is due now."""

import math
from dataclasses import dataclass
from enum import Enum

from app.stomp.errors import ProtocolError

LOOKS_WHILE_BUSY = 4  # in an interval: what was sent is known to lie between two looks
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


def plan_heartbeat(agreed: Heartbeat, *, now: float, last_sent: float, last_received: float, late_s: float) -> Due:
    """`now` and the `last_` times are seconds of one clock; the next look may come `late_s` late."""
    if agreed.receive_ms and now - last_received > SILENT_INTERVALS * agreed.receive_ms / 1000:
        return Due.LOST
    if agreed.send_ms and now - last_sent + late_s >= agreed.send_ms / 1000:
        return Due.SEND
    return Due.NOTHING


def next_look(agreed: Heartbeat, *, last_sent: float, last_received: float, late_s: float) -> float | None:
    """When `plan_heartbeat` will have something to say, if nothing happens until then. None: never."""
    lost = last_received + SILENT_INTERVALS * agreed.receive_ms / 1000 if agreed.receive_ms else math.inf
    send = last_sent + agreed.send_ms / 1000 - late_s if agreed.send_ms else math.inf
    look = min(lost, send)
    return None if look == math.inf else look


class HeartbeatTimer:
    """Of one connection. Whoever receives sets `received_s`; what is sent is known from one look to the next only."""

    __slots__ = ("_looked_s", "_sent_s", "received_s")

    def __init__(self, now: float) -> None:
        self.received_s = self._sent_s = self._looked_s = now

    def look(self, agreed: Heartbeat, *, now: float, late_s: float, has_sent: bool) -> tuple[Due, float | None]:
        """What is due, and when to look again, which may happen `late_s` later than that. None: never.

        `has_sent`: something was sent since the last look.
        """
        last_look_s, self._looked_s = self._looked_s, now
        if has_sent:
            self._sent_s = last_look_s  # or since; the earliest moment is the safe one
        due = plan_heartbeat(agreed, now=now, last_sent=self._sent_s, last_received=self.received_s, late_s=late_s)
        if due is Due.SEND:
            self._sent_s = now
        look_s = next_look(agreed, last_sent=self._sent_s, last_received=self.received_s, late_s=late_s)
        if look_s is not None and has_sent and agreed.send_ms:
            look_s = min(look_s, now + agreed.send_ms / 1000 / LOOKS_WHILE_BUSY)
        return due, look_s
