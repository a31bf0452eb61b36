"""Ping connections that are idle, and close those whose peer does not respond."""

import asyncio
import logging
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.picows.socket import PicowsSocket
from app.timing.schedule import Schedule

FAILED = 1011
TICKS_PER_INTERVAL = 25  # a check is up to two ticks late

logger = logging.getLogger(__name__)


class KeepaliveTimer:
    """One timer for all connections of a server. Ten thousand timers would take a tenth of what idle connections cost.

    `timeout_s` None: peers are pinged, and never closed for silence.
    """

    def __init__(self, interval_s: float, timeout_s: float | None) -> None:
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self._tick_s = interval_s / TICKS_PER_INTERVAL
        self._loop = asyncio.get_running_loop()
        self._schedule: Schedule[Keepalive] = Schedule(self._tick_s)
        self._handle: asyncio.TimerHandle | None = None

    def add(self, keepalive: "Keepalive", delay_s: float) -> int:
        """Call `keepalive.act` after the delay. Return the slot, which `discard` needs."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._tick_s, self._act)
        return self._schedule.add(keepalive, self._loop.time() + delay_s)

    def discard(self, keepalive: "Keepalive", slot: int) -> None:
        self._schedule.discard(keepalive, slot)

    def _act(self) -> None:
        self._handle = self._loop.call_later(self._tick_s, self._act) if self._schedule else None
        for keepalive in self._schedule.pop_due(self._loop.time()):
            try:
                keepalive.act()
            except Exception:  # edge of the timer: one failure must not stop the other connections
                logger.exception("a connection could not be kept alive")


class Keepalive:
    """Keeps data moving both ways about once in two intervals, so that no load balancer drops the connection."""

    __slots__ = ("_is_waiting", "_slot", "_socket", "_timer")

    def __init__(self, socket: PicowsSocket, timer: KeepaliveTimer) -> None:
        self._socket = socket
        self._timer = timer
        self._is_waiting = False  # for a response to a ping
        self._slot = timer.add(self, timer.interval_s)

    def cancel(self) -> None:
        self._timer.discard(self, self._slot)

    def act(self) -> None:
        if self._is_waiting:
            self._check_pong()
        else:
            self._check_idle()

    def _check_idle(self) -> None:
        socket, timeout_s = self._socket, self._timer.timeout_s
        is_silent = not (socket.has_read and socket.has_written)
        if is_silent:
            socket.ping()
        socket.has_read = socket.has_written = False
        self._is_waiting = is_silent and timeout_s is not None
        self._slot = self._timer.add(self, timeout_s if is_silent and timeout_s is not None else self._timer.interval_s)

    def _check_pong(self) -> None:
        """Close the connection if the peer was silent. It is not while the application has paused reading."""
        if not self._socket.has_read and self._socket.transport.is_reading():
            self._socket.fail(FAILED, "keepalive ping timeout")
            return
        self._is_waiting = False
        self._slot = self._timer.add(self, max(0.0, self._timer.interval_s - (self._timer.timeout_s or 0.0)))


_timers: WeakKeyDictionary[ServerState, KeepaliveTimer] = WeakKeyDictionary()


def start_keepalive(socket: PicowsSocket, server: ServerState, config: Config) -> Keepalive | None:
    """Start pings as the settings of uvicorn say. Return None if pings are off."""
    if not config.ws_ping_interval:
        return None
    if server not in _timers:
        _timers[server] = KeepaliveTimer(config.ws_ping_interval, config.ws_ping_timeout)
    return Keepalive(socket, _timers[server])
