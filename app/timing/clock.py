"""The clock that the service is given, so that tests control time."""

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Return seconds that never jump, for waits, due times and heart-beats."""

    def epoch_ms(self) -> int:
        """Return milliseconds since the epoch, for everything that leaves the process or is stored."""


class SystemClock:
    monotonic = staticmethod(time.monotonic)

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000
