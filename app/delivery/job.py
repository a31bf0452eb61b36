"""The APScheduler job that drives the retries."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.delivery.retry import RetryPolicy

JOB_ID = "ack-retry"
LOOKS_PER_INTERVAL = 10  # so much finer than the waits it looks, for a resend to come when it is due
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.05, 0.5


def sweep_period_s(policy: RetryPolicy) -> float:
    """How often the job looks. A look that finds nothing due costs nothing worth counting."""
    wanted = min(policy.wait_s, policy.interval_s) / LOOKS_PER_INTERVAL
    return min(max(wanted, SHORTEST_PERIOD_S), LONGEST_PERIOD_S)


@asynccontextmanager
async def retry_job(sweep: Callable[[], Awaitable[None]], policy: RetryPolicy) -> AsyncIterator[AsyncIOScheduler]:
    """Runs `sweep` periodically while the context is open; a run that is long delays the next, never doubles it."""
    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        sweep,
        "interval",
        seconds=sweep_period_s(policy),
        id=JOB_ID,
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
        next_run_time=datetime.now(UTC),
    )
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.shutdown(wait=False)
