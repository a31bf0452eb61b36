"""The APScheduler job. It runs on real time, of which these tests take as little as they can."""

import asyncio
import logging
from datetime import timedelta

import pytest

from app.delivery.job import JOB_ID, LONGEST_PERIOD_S, SHORTEST_PERIOD_S, retry_job, sweep_period_s
from app.delivery.retry import RetryPolicy
from app.timing.clock import SystemClock
from tests.delivery.node import Node
from tests.eventually import eventually

QUICK = RetryPolicy(wait_s=0.1, interval_s=0.1, max_retries=3)
PATIENCE_S = 10
HOUR_S = 3600


class SteppedClock(SystemClock):
    """The system's clock, except for `wall_step_s`."""

    wall_step_s = 0.0

    def epoch_ms(self) -> int:
        return super().epoch_ms() + round(self.wall_step_s * 1000)


@pytest.mark.parametrize(
    ("wait_s", "interval_s", "period_s"),
    [(5, 5, 0.5), (4, 100, 0.4), (100, 4, 0.4), (2, 3, 0.2), (0.1, 5, SHORTEST_PERIOD_S), (60, 60, LONGEST_PERIOD_S)],
)
def test_the_job_looks_much_more_often_than_a_resend_is_due(wait_s: float, interval_s: float, period_s: float) -> None:
    assert sweep_period_s(RetryPolicy(wait_s=wait_s, interval_s=interval_s)) == pytest.approx(period_s)


async def test_the_job_runs_at_once_and_again_until_it_is_closed() -> None:
    runs = 0
    enough = asyncio.Event()

    async def sweep() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            enough.set()

    async with retry_job(sweep, QUICK, SystemClock()):
        await asyncio.wait_for(enough.wait(), PATIENCE_S)
    await asyncio.sleep(0)
    ended_at = runs
    await asyncio.sleep(3 * SHORTEST_PERIOD_S)
    assert runs == ended_at


async def test_a_run_that_is_long_is_never_doubled_and_the_job_goes_on_after_it() -> None:
    running = most = runs = 0
    enough = asyncio.Event()

    async def sweep() -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await asyncio.sleep(3 * SHORTEST_PERIOD_S)
        running -= 1
        if runs == 2:
            enough.set()

    async with retry_job(sweep, QUICK, SystemClock()):
        await asyncio.wait_for(enough.wait(), PATIENCE_S)
    assert (most, runs) == (1, 2)
    await asyncio.sleep(0)


async def test_a_run_that_fails_does_not_end_the_job() -> None:
    runs = 0
    enough = asyncio.Event()

    async def sweep() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            enough.set()
        raise RuntimeError("this run fails")

    async with retry_job(sweep, QUICK, SystemClock()):
        await asyncio.wait_for(enough.wait(), PATIENCE_S)


async def test_a_long_run_ends_with_the_job() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def sweep() -> None:
        started.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            ended.set()

    async with retry_job(sweep, QUICK, SystemClock()):
        await asyncio.wait_for(started.wait(), PATIENCE_S)
    await asyncio.wait_for(ended.wait(), 30)


async def test_the_job_has_its_name_and_allows_one_instance() -> None:
    async def sweep() -> None:
        pass

    async with retry_job(sweep, QUICK, SystemClock()) as scheduler:
        (job,) = scheduler.get_jobs()
        assert (job.id, JOB_ID, job.max_instances, job.coalesce) == ("ack-retry", "ack-retry", 1, True)


async def test_the_job_drives_the_retries_of_a_node() -> None:
    clock = SystemClock()
    node = Node(clock=clock, policy=QUICK)  # type: ignore[arg-type]
    device = await node.listening()
    await node.push("m1")
    resent = asyncio.Event()
    device.transport.on_send = resent.set
    async with retry_job(node.delivery.sweep, QUICK, clock):
        await asyncio.wait_for(resent.wait(), PATIENCE_S)
    assert device.attempts()[:2] == [("m1", 1), ("m1", 2)]


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
async def test_the_job_goes_on_after_a_step_of_the_wall_clock_and_logs_the_step(
    step_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock, runs = SteppedClock(), 0

    async def sweep() -> None:
        nonlocal runs
        runs += 1

    async with retry_job(sweep, QUICK, clock) as scheduler:
        await eventually(lambda: runs >= 2)
        (job,) = scheduler.get_jobs()
        clock.wall_step_s = step_s
        # What a step of the wall clock is to APScheduler, which reads it itself: the next run is an hour away.
        job.modify(next_run_time=job.next_run_time - timedelta(seconds=step_s))
        before = runs
        await eventually(lambda: runs >= before + 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"the wall clock was stepped by {step_s:+d}.0 s; retries go on"]


async def test_a_step_between_two_readings_of_the_clock_is_found_at_the_next_wake_up() -> None:
    clock, runs = SteppedClock(), 0

    async def sweep() -> None:
        nonlocal runs
        runs += 1

    async with retry_job(sweep, QUICK, clock) as scheduler:
        await eventually(lambda: runs >= 2)
        (job,) = scheduler.get_jobs()
        job.modify(next_run_time=job.next_run_time + timedelta(hours=1))
        await asyncio.sleep(2 * SHORTEST_PERIOD_S)  # the scheduler waits for the wrong time already
        clock.wall_step_s = -HOUR_S
        before = runs
        await eventually(lambda: runs >= before + 3)


async def test_a_small_correction_of_the_wall_clock_is_no_step(caplog: pytest.LogCaptureFixture) -> None:
    clock, runs = SteppedClock(), 0

    async def sweep() -> None:
        nonlocal runs
        runs += 1

    async with retry_job(sweep, QUICK, clock):
        for _ in range(5):
            clock.wall_step_s += 0.5
            before = runs
            await eventually(lambda before=before: runs >= before + 2)  # type: ignore[misc]
    assert not caplog.records
