"""Limit how many sessions an address may try to open per second."""

BURST_S = 10.0  # the attempts of this time may come at once
ROUNDING_S = 1e-6
SWEEP_WATERMARK = 1024


class Attempts:
    """A rate limit for each address, by the generic cell rate algorithm (GCRA): one timestamp per address.

    An attempt that became an authenticated session is given back, so that many users behind one address can connect.
    Times are in seconds of one clock.
    """

    def __init__(self, per_s: int) -> None:
        """`per_s` is attempts per second; 0: no limit."""
        self._interval_s = 1 / per_s if per_s else 0.0
        self._paid_s: dict[str, float] = {}
        self._sweep_at = SWEEP_WATERMARK

    def __len__(self) -> int:
        return len(self._paid_s)

    def take(self, key: str, now_s: float) -> bool:
        """Count an attempt; False if the address has none left."""
        if not self._interval_s:
            return True
        paid_s = max(self._paid_s.get(key, now_s), now_s) + self._interval_s
        if paid_s - now_s > BURST_S + ROUNDING_S:
            return False
        self._paid_s[key] = paid_s
        if len(self._paid_s) >= self._sweep_at:
            self._sweep(now_s)
        return True

    def give_back(self, key: str) -> None:
        """Uncount an attempt."""
        paid_s = self._paid_s.get(key)
        if paid_s is not None:
            self._paid_s[key] = paid_s - self._interval_s

    def _sweep(self, now_s: float) -> None:
        """Drop addresses without recent attempts. The next sweep happens once their number has doubled."""
        self._paid_s = {key: paid_s for key, paid_s in self._paid_s.items() if paid_s > now_s}
        self._sweep_at = max(SWEEP_WATERMARK, 2 * len(self._paid_s))
