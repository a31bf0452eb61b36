"""The rate limit on the frames of a client."""


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up; it starts full. Times are seconds of one clock."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated_s")

    def __init__(self, *, rate: float, burst: float, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated_s = now_s

    def take(self, now_s: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now_s - self._updated_s) * self._rate)
        self._updated_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Strain:
    """How long a client has exceeded its rate: grows while one of its frames waits, shrinks while none does.

    Times are seconds of one clock.
    """

    __slots__ = ("_changed_s", "_is_waiting", "_seconds")

    def __init__(self, now_s: float) -> None:
        self._seconds = 0.0
        self._is_waiting = False
        self._changed_s = now_s

    def begin(self, now_s: float) -> None:
        """Note that a frame waits. Has no effect if one waits already."""
        self._change(True, now_s)

    def end(self, now_s: float) -> None:
        """Note that no frame waits now."""
        self._change(False, now_s)

    def _change(self, is_waiting: bool, now_s: float) -> None:
        self._seconds = self.seconds(now_s)
        self._is_waiting = is_waiting
        self._changed_s = now_s

    def seconds(self, now_s: float) -> float:
        passed_s = now_s - self._changed_s
        return self._seconds + passed_s if self._is_waiting else max(0.0, self._seconds - passed_s)
