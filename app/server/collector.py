"""GC tuning: freeze start-up objects, and run a full collection every 10 minutes.

With Python's defaults, full collections are frequent and hold the event loop for long.
"""

import asyncio
import gc

YOUNG = 5_000  # new objects until the youngest generation is collected; the second after ten such collections
NEVER = 1_000_000_000
FULL_EVERY_S = 600.0  # a full collection holds the loop for 300 ms with four thousand sessions


def collect_rarely(loop: asyncio.AbstractEventLoop) -> None:
    """Tune the collector of this process, and collect fully from `loop` every FULL_EVERY_S.

    Code that creates long-lived reference cycles for each session must break them itself.
    """
    gc.collect()
    gc.freeze()  # modules and classes, which live as long as the process
    gc.set_threshold(YOUNG, 10, NEVER)
    loop.call_later(FULL_EVERY_S, _collect_all, loop)


def _collect_all(loop: asyncio.AbstractEventLoop) -> None:
    gc.collect()
    loop.call_later(FULL_EVERY_S, _collect_all, loop)
