"""The APScheduler job. It runs on real time, of which these tests take as little as they can."""

import asyncio

import pytest

from app.clock import SystemClock
from app.delivery.job import JOB_ID, LONGEST_PERIOD_S, SHORTEST_PERIOD_S, retry_job, sweep_period_s
from app.delivery.retry import RetryPolicy
from tests.delivery.node import Node

QUICK = RetryPolicy(wait_s=0.1, interval_s=0.1, max_retries=3)
PATIENCE_S = 10


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

    async with retry_job(sweep, QUICK):
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

    async with retry_job(sweep, QUICK):
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

    async with retry_job(sweep, QUICK):
        await asyncio.wait_for(enough.wait(), PATIENCE_S)


async def test_a_long_run_ends_with_the_job() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def sweep() -> None:
        started.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            ended.set()

    async with retry_job(sweep, QUICK):
        await asyncio.wait_for(started.wait(), PATIENCE_S)
    await asyncio.wait_for(ended.wait(), 1)


async def test_the_job_has_its_name_and_allows_one_instance() -> None:
    async def sweep() -> None:
        pass

    async with retry_job(sweep, QUICK) as scheduler:
        (job,) = scheduler.get_jobs()
        assert (job.id, JOB_ID, job.max_instances, job.coalesce) == ("ack-retry", "ack-retry", 1, True)


async def test_the_job_drives_the_retries_of_a_node() -> None:
    clock = SystemClock()
    node = Node(clock=clock, policy=QUICK)  # type: ignore[arg-type]
    device = await node.listening()
    await node.push("m1")
    resent = asyncio.Event()
    device.transport.on_send = resent.set
    async with retry_job(node.delivery.sweep, QUICK):
        await asyncio.wait_for(resent.wait(), PATIENCE_S)
    assert device.attempts()[:2] == [("m1", 1), ("m1", 2)]
