"""Pings to peers that may have gone without a word."""

import asyncio

from app.transports.picows_socket import PicowsSocket

FAILED = 1011


class Keepalive:
    """Pings, and gives up on a peer that does not answer."""

    def __init__(self, socket: PicowsSocket, interval_s: float, timeout_s: float | None) -> None:
        self._socket = socket
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._seen = 0
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._ping)

    def cancel(self) -> None:
        self._timer.cancel()

    def _ping(self) -> None:
        loop = asyncio.get_running_loop()
        self._seen = self._socket.pongs
        self._socket.ping()
        if self._timeout_s is None:
            self._timer = loop.call_later(self._interval_s, self._ping)
        else:
            self._timer = loop.call_later(self._timeout_s, self._check, self._timeout_s)

    def _check(self, waited_s: float) -> None:
        """A peer that the application does not let speak is not silent."""
        if self._socket.pongs == self._seen and self._socket.transport.is_reading():
            self._socket.fail(FAILED, "keepalive ping timeout")
        else:
            delay_s = max(0.0, self._interval_s - waited_s)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ping)
