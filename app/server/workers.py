"""Worker processes that share the listening sockets: started, replaced when they die, and ended together."""

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
SHORT_LIFE_S = 1.0  # least time between the start of a worker and that of its replacement

logger = logging.getLogger(__name__)


class Workers:
    """Forks `count` processes that run `work`; forking lets them share the memory of the code.

    `work` gets a file descriptor that reaches its end when the parent process ends, however that happens. A worker then
    has to end itself.
    """

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._count = count
        self._work = work
        self._processes: list[tuple[BaseProcess, float]] = []
        self._stopping = False
        self._lifeline, self._alive = os.pipe()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, and return when all workers have ended."""
        for number in END_SIGNALS:
            signal.signal(number, self._stop)
        for _ in range(self._count):
            self._start()
        while self._processes:
            wait([process.sentinel for process, _ in self._processes])
            self._replace_ended()

    def _start(self) -> None:
        """Start a worker, unless this process is ending."""
        process = multiprocessing.get_context("fork").Process(target=self._live)
        signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # until parent and child have their own handlers
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
        os.setpgrp()  # the parent passes Ctrl-C on; without this the worker would get it twice
        self._work(self._lifeline)

    def _replace_ended(self) -> None:
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
