"""How fast a client may talk."""


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
