"""Decides from a client's silence whether it is asked for a sign of life, may be replaced, or has gone."""

from enum import Enum

from app.gateway.overdue import ANSWER_S
from app.hub.transport import Transport
from app.stomp.heartbeat import Due, Heartbeat, HeartbeatTimer

OVERDUE_INTERVALS = 1.5  # so long may a client be silent that others wait for its place


class Silence(Enum):
    ALIVE = "alive"
    ASKED = "asked"
    """It has been asked for a sign of life, and has some time left to answer."""
    OVERDUE = "overdue"


class Liveness:
    """The signs of life of one connection. `heard_s` is when the last byte came, in seconds of a monotonic clock."""

    __slots__ = ("_asked_s", "_overdue_s", "_timer", "heard_s", "opened_s")

    def __init__(self, now_s: float) -> None:
        self.opened_s = self.heard_s = now_s
        self._timer: HeartbeatTimer | None = None
        self._overdue_s: float | None = None
        self._asked_s = now_s

    def agree(self, heartbeat: Heartbeat, now_s: float) -> None:
        """Start to keep the heart-beats that were agreed on."""
        self._timer = HeartbeatTimer(heartbeat, now_s)
        if heartbeat.receive_ms:
            self._overdue_s = OVERDUE_INTERVALS * heartbeat.receive_ms / 1000

    def check(self, now_s: float, late_s: float, has_sent: bool) -> tuple[Due, float | None]:
        """Return what is due and when to check again, as `HeartbeatTimer.check` does."""
        assert self._timer is not None, "agreed on before"
        return self._timer.check(now_s, late_s, self.heard_s, has_sent)

    def judge(self, transport: Transport, now_s: float, again: bool) -> Silence:
        """Return whether a new session of the user may take the place of this one.

        A client without heart-beats is asked for a sign of life if its transport can ask. `again`: it was asked a
        moment ago and is not asked again.
        """
        if self._overdue_s is not None:
            return Silence.OVERDUE if now_s - self.heard_s > self._overdue_s else Silence.ALIVE
        if not transport.is_asked:
            if again or not transport.ask():
                return Silence.ALIVE
            self._asked_s = now_s
        return Silence.OVERDUE if now_s - self._asked_s >= ANSWER_S else Silence.ASKED
