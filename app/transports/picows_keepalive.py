"""Pings where nothing else is said, and an end for peers that have gone without a word."""

import asyncio
import math
from collections.abc import Callable

from app.transports.picows_socket import PicowsSocket

FAILED = 1011
MOMENTS = 25  # of an interval: what is due in the same moment wakes the loop once, whoever it is due for


class Keepalive:
    """At least once in two intervals something goes each way: or a balancer between would let go of the connection."""

    def __init__(self, socket: PicowsSocket, interval_s: float, timeout_s: float | None) -> None:
        self._socket = socket
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._call_later(interval_s, self._look)

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        socket = self._socket
        is_silent = not (socket.reader.has_read and socket.has_spoken)
        if is_silent:
            socket.ping()
        socket.reader.has_read = socket.has_spoken = False
        if is_silent and self._timeout_s is not None:
            self._call_later(self._timeout_s, self._check)
        else:
            self._call_later(self._interval_s, self._look)

    def _check(self) -> None:
        """A peer that the application does not let speak is not silent."""
        if not self._socket.reader.has_read and self._socket.transport.is_reading():
            self._socket.fail(FAILED, "keepalive ping timeout")
        else:
            self._call_later(max(0.0, self._interval_s - (self._timeout_s or 0.0)), self._look)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        loop, moment_s = asyncio.get_running_loop(), self._interval_s / MOMENTS
        self._timer = loop.call_at(math.ceil((loop.time() + delay_s) / moment_s) * moment_s, call)
