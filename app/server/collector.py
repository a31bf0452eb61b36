"""GC tuning: freeze start-up objects and collect rarely. The defaults stop the service often and for long."""

import asyncio
import gc

YOUNG = 5_000  # new objects until the young are looked at; ten times as many for those that survived it
NEVER = 1_000_000_000
FULL_EVERY_S = 600.0  # it holds the loop for 300 ms with four thousand sessions


def collect_rarely(loop: asyncio.AbstractEventLoop) -> None:
    """For the whole process, from now on.

    Whatever makes cycles that live long, as often as sessions come and go, has to break them itself.
    """
    gc.collect()
    gc.freeze()  # the code, which never goes
    gc.set_threshold(YOUNG, 10, NEVER)
    loop.call_later(FULL_EVERY_S, _collect_all, loop)


def _collect_all(loop: asyncio.AbstractEventLoop) -> None:
    gc.collect()
    loop.call_later(FULL_EVERY_S, _collect_all, loop)
