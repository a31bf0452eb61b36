"""Time that a test owns."""


class FakeClock:
    """Both clocks move together by `advance`; `step` moves the wall clock alone."""

    def __init__(self, epoch_ms: int = 1_700_000_000_000) -> None:
        self._epoch_ms = epoch_ms
        self._monotonic_s = 1_000.0

    def monotonic(self) -> float:
        return self._monotonic_s

    def epoch_ms(self) -> int:
        return self._epoch_ms

    def advance(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._epoch_ms += round(seconds * 1000)

    def step(self, seconds: float) -> None:
        self._epoch_ms += round(seconds * 1000)
