"""Periodic jobs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


async def every(period_s: float, job: Callable[[], Awaitable[object]]) -> None:
    """Run `job` every `period_s` until cancelled, which may be in the middle of the job.

    A task of its owner, and no job of the scheduler: that one waits for no job at the end, and calls one that is
    cancelled then a failure.
    """
    while True:
        await asyncio.sleep(period_s)
        try:
            await job()
        except Exception:  # the outer edge of the task: the next time may be better
            logger.exception("%s failed", getattr(job, "__qualname__", job))
