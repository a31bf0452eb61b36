"""Time as an argument of the whole service, so that tests can own it."""

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never jump: for waits, due times and heart-beats."""

    def epoch_ms(self) -> int:
        """Milliseconds since 1970 UTC: for what leaves the process or is stored."""


class SystemClock:
    monotonic = staticmethod(time.monotonic)

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000
