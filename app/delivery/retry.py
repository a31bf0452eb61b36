"""Decides when an unacknowledged message is resent. It does not send."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`wait_s` from the first sending to the first resend, `interval_s` between resends, `max_retries` to a session."""

    wait_s: float = 5.0
    interval_s: float = 5.0
    max_retries: int = 12


class Retry(Enum):
    RESEND = "resend"
    EXPIRE = "expire"


def plan_retry(*, now_s: float, expires_s: float, retries: int, policy: RetryPolicy) -> Retry:
    """Decide what to do with a record that is due. `retries`: its resends so far."""
    if now_s >= expires_s or retries >= policy.max_retries:
        return Retry.EXPIRE
    return Retry.RESEND
