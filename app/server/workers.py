"""Several processes on one port: WORKERS of them, started, replaced when they die, and ended together."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SHORT_LIFE_S = 1.0  # of a worker that is not worth replacing at once

logger = logging.getLogger(__name__)


class Workers:
    """Forks, so that the processes share the memory of the code. `work` gets a file that ends with this process.

    Whatever happens to this process, workers see the end of that file, and end themselves.
    """

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._count = count
        self._work = work
        self._processes: list[tuple[BaseProcess, float]] = []
        self._stopping = False
        self._lifeline, self._alive = os.pipe()

    def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when all have ended."""
        for number in END_SIGNALS:
            signal.signal(number, self._stop)
        for _ in range(self._count):
            self._start()
        while self._processes:
            wait([process.sentinel for process, _ in self._processes])
            self._bury()

    def _start(self) -> None:
        """Unless the end has begun."""
        process = multiprocessing.get_context("fork").Process(target=self._live)
        signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # until it is clear in each process who handles them
        if not self._stopping:
            process.start()
            self._processes.append((process, time.monotonic()))
            logger.info("worker %d started", process.pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)

    def _live(self) -> None:
        os.close(self._alive)
        for number in END_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
        os.setpgrp()  # Ctrl-C is told to this process by its parent, once
        self._work(self._lifeline)

    def _bury(self) -> None:
        for entry in [entry for entry in self._processes if not entry[0].is_alive()]:
            process, started_s = entry
            process.join()
            self._processes.remove(entry)
            if self._stopping:
                continue
            logger.error("worker %d ended with %s and is replaced", process.pid, process.exitcode)
            time.sleep(max(0.0, started_s + SHORT_LIFE_S - time.monotonic()))
            self._start()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        for process, _ in self._processes:
            process.terminate()
