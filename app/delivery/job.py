"""The APScheduler job that drives the retries."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.delivery.retry import RetryPolicy
from app.timing.clock import Clock

JOB_ID = "ack-retry"
LOOKS_PER_INTERVAL = 10  # so much finer than the waits it looks, for a resend to come when it is due
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.05, 0.5
CLOCK_STEP_S = 1.0  # a change of the wall clock against the monotonic clock that counts as a step

logger = logging.getLogger(__name__)


def sweep_period_s(policy: RetryPolicy) -> float:
    """Return the period of the job. A run that finds nothing due costs almost nothing."""
    wanted = min(policy.wait_s, policy.interval_s) / LOOKS_PER_INTERVAL
    return min(max(wanted, SHORTEST_PERIOD_S), LONGEST_PERIOD_S)


class SteadyScheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler has no types
    """An AsyncIOScheduler that keeps running its jobs when the wall clock is stepped.

    APScheduler compares the wall clock with the wall-clock time of a job's next run. After a step back it would sleep
    for the size of the step; after a step forward it would list every run in between. This scheduler wakes up by the
    loop's clock at least every LONGEST_PERIOD_S, and if the wall clock was stepped, all jobs are due at once.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(timezone=UTC)
        self._clock = clock
        self._offset_s = self._wall_offset_s()

    def wakeup(self) -> None:
        self._check_for_step()
        super().wakeup()

    def _start_timer(self, wait_seconds: float | None) -> None:
        super()._start_timer(None if wait_seconds is None else min(wait_seconds, LONGEST_PERIOD_S))

    def _wall_offset_s(self) -> float:
        return self._clock.epoch_ms() / 1000 - self._clock.monotonic()

    def _check_for_step(self) -> None:
        offset_s = self._wall_offset_s()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(step_s) < CLOCK_STEP_S:
            return
        logger.warning("the wall clock was stepped by %+.1f s; retries go on", step_s)
        for job in self.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))


@asynccontextmanager
async def retry_job(
    sweep: Callable[[], Awaitable[None]], policy: RetryPolicy, clock: Clock
) -> AsyncIterator[AsyncIOScheduler]:
    """Runs `sweep` periodically while the context is open; a run that is long delays the next, never doubles it."""
    scheduler = SteadyScheduler(clock)
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
