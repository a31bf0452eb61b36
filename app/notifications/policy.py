"""How long stored messages are kept and left alone."""

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyPolicy:
    """Times of stored messages.

    `ack_ttl_ms`: how long a push waits for acknowledgements. `grace_ms`: age after which recovery pushes a stored,
    unpushed message.
    """

    ack_ttl_ms: int = 60_000
    retention_days: int = 30
    grace_ms: int = 10_000

    def since_ms(self, now_ms: int) -> int:
        """Return the creation time before which messages are deleted."""
        return now_ms - self.retention_days * DAY_MS
