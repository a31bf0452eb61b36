"""The transport of responses, and the timeout for a peer to read them."""

import asyncio
from collections.abc import Callable

from app.http.limits import NEVER
from app.http.reader import HttpReader


class ResponseTransport:
    """The transport that responses write to. The protocol supplies `close`."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class HttpWriter(HttpReader):
    """Aborts a connection whose peer reads more slowly than the minimum rate during the keep-alive time.

    TCP keeps a connection whose peer reads a few bytes now and then. Its response would take memory and a connection.
    """

    response_transport: ResponseTransport | None = None
    """None before the first response."""
    _unsent_bytes = 0  # when writing was paused, or at the last check
    _is_unsent = False  # the peer had not read the last response when the linger time was over

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()
        self.expires_tick = min(self.expires_tick, self._stall_tick)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.expires_tick == self._stall_tick and not (self._in_head or self._in_body) and self._is_responding:
            self.expires_tick = NEVER
        self._stall_tick = NEVER

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_reading(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stall_tick = self._watch.tick + self._watch.keep_alive_ticks

    def _check_reading(self) -> None:
        """Abort if the peer reads below the minimum rate. Called once `_stall_tick` has come."""
        limits = self._watch.limits
        least = self._unsent_bytes - limits.min_body_rate * limits.keep_alive_s
        self._expect_reading()
        self.expires_tick = self._stall_tick
        if self._unsent_bytes > least:
            self.logger.info("%s does not read its response", self.client)
            self.transport.abort()

    def _shorten_timeouts(self) -> None:
        """Shorten the timeouts of stalled bodies and unread responses: the server is stopping."""
        soon = self._watch.tick + self._watch.linger_ticks
        if self.flow.write_paused:
            self._stall_tick = min(self._stall_tick, soon)
        if self._in_body or self.flow.write_paused:
            self.expires_tick = min(self.expires_tick, soon)

    def _abort_unless_sending(self) -> None:
        """Abort. A peer that reads the last response slowly first has the keep-alive time once."""
        if self.flow.write_paused:
            self.expires_tick = self._stall_tick
            return
        if self._is_unsent or not self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        self._is_unsent = True
        self.expires_tick = self._watch.tick + self._watch.keep_alive_ticks
