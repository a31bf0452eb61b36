"""Limits on the size and the time of HTTP requests, and the sweep that enforces timeouts."""

import asyncio
import math
from dataclasses import dataclass
from typing import Protocol

LONGEST_TICK_S = 1.0
TICKS_PER_TIMEOUT = 4
LINGER_S = 2.0  # for a peer to read a response that was sent before the end of its request
NEVER = math.inf
LONGEST_METHOD_AND_VERSION = 32
SLICE_BYTES = 8_192  # parsed at once; further pipelined requests are kept as bytes, which take less memory
EXPIRED_PER_TURN = 50  # connections that are closed in one turn of the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of one connection. A body has `body_timeout_s`, and a second for each `min_body_rate` bytes."""

    max_request_line_bytes: int = 8_192
    max_head_bytes: int = 65_536
    max_headers: int = 100
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    min_body_rate: int = 1_024
    keep_alive_s: float = 75.0

    @property
    def tick_s(self) -> float:
        """The time between two sweeps, a quarter of the shortest timeout or less."""
        shortest_s = min(self.head_timeout_s, self.body_timeout_s, self.keep_alive_s)
        return min(LONGEST_TICK_S, shortest_s / TICKS_PER_TIMEOUT)


class Expiring(Protocol):
    """A connection with a timeout. It sets `expires_tick` whenever its state changes."""

    expires_tick: float

    def expire(self) -> None:
        """Called in every sweep from `expires_tick` on."""


class HttpWatch:
    """A clock that counts sweeps, shared by the HTTP connections of a server. It runs while there are connections.

    One timer serves all: a timer for each request would cost more than all other limits together.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.tick = 0
        self.max_headers = limits.max_headers
        self.safe_url_bytes = limits.max_request_line_bytes - LONGEST_METHOD_AND_VERSION
        self.slice_bytes = min(SLICE_BYTES, limits.max_head_bytes)
        self.head_ticks = self.ticks(limits.head_timeout_s)
        self.body_ticks = self.ticks(limits.body_timeout_s)
        self.keep_alive_ticks = self.ticks(limits.keep_alive_s)
        self.linger_ticks = self.ticks(LINGER_S)
        self._connections: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def ticks(self, seconds: float) -> int:
        """Return the number of sweeps that take at least this time."""
        return math.ceil(seconds / self.limits.tick_s) + 1

    def add(self, connection: Expiring) -> None:
        self._connections.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick_s, self.sweep)

    def remove(self, connection: Expiring) -> None:
        self._connections.discard(connection)

    def sweep(self) -> None:
        """Expire the connections that are due. Called by the timer."""
        self.tick += 1
        now = self.tick
        self._expire([one for one in self._connections if one.expires_tick <= now])
        self._timer = None
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick_s, self.sweep)

    def _expire(self, due: list[Expiring]) -> None:
        for connection in due[:EXPIRED_PER_TURN]:
            if connection in self._connections and connection.expires_tick <= self.tick:
                connection.expire()
        if rest := due[EXPIRED_PER_TURN:]:
            asyncio.get_running_loop().call_soon(self._expire, rest)
