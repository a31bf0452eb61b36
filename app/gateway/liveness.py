"""What the silence of a client means: when it is asked, when its place may be given away, when it is gone."""

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
    """Of one connection. `heard_s`: when something came last. All times are seconds of one clock."""

    __slots__ = ("_asked_s", "_overdue_s", "_timer", "heard_s", "opened_s")

    def __init__(self, now_s: float) -> None:
        self.opened_s = self.heard_s = now_s
        self._timer: HeartbeatTimer | None = None
        self._overdue_s: float | None = None
        self._asked_s = now_s

    def agree(self, heartbeat: Heartbeat, now_s: float) -> None:
        """From here on the client is held to it."""
        self._timer = HeartbeatTimer(heartbeat, now_s)
        if heartbeat.receive_ms:
            self._overdue_s = OVERDUE_INTERVALS * heartbeat.receive_ms / 1000

    def check(self, now_s: float, late_s: float, has_sent: bool) -> tuple[Due, float | None]:
        """As `HeartbeatTimer.check`."""
        assert self._timer is not None, "agreed on before"
        return self._timer.check(now_s, late_s, self.heard_s, has_sent)

    def judge(self, transport: Transport, now_s: float, again: bool) -> Silence:
        """Whether others may have its place. A client that promised no heart-beats is asked, where its transport can
        ask; not where it was asked a moment ago: `again`.
        """
        if self._overdue_s is not None:
            return Silence.OVERDUE if now_s - self.heard_s > self._overdue_s else Silence.ALIVE
        if not transport.is_asked:
            if again or not transport.ask():
                return Silence.ALIVE
            self._asked_s = now_s
        return Silence.OVERDUE if now_s - self._asked_s >= ANSWER_S else Silence.ASKED
