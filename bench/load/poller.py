"""One epoll for all that a process of the benchmark reads."""

import select
import socket
import time
from collections.abc import Callable

TIMEOUT_S = 20.0


class Poller:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def add(self, connection: socket.socket, handler: Callable[[], None], *, writable: bool = False) -> None:
        """Calls the handler whenever there is something to read; `writable`: when it can be written to."""
        self._handlers[connection.fileno()] = handler
        self._epoll.register(connection, select.EPOLLOUT if writable else select.EPOLLIN)

    def change(self, connection: socket.socket, handler: Callable[[], None]) -> None:
        """From now on for reading."""
        self._handlers[connection.fileno()] = handler
        self._epoll.modify(connection, select.EPOLLIN)

    def remove(self, connection: socket.socket) -> None:
        """A handler may remove its own connection, and no other."""
        self._epoll.unregister(connection)
        del self._handlers[connection.fileno()]

    def turn(self, timeout_s: float) -> bool:
        """Handles what is there, or what comes within the time. False if nothing did."""
        events = self._epoll.poll(timeout_s)
        handlers = self._handlers
        for fd, _ in events:
            handlers[fd]()
        return bool(events)

    def run_until(self, is_done: Callable[[], bool], *, rest_s: float = 0.0) -> None:
        """Raises TimeoutError if nothing comes for a long time.

        `rest_s` after each turn: a reader that never rests takes every message on its own, and all of its core.
        """
        while not is_done():
            if not self.turn(TIMEOUT_S):
                raise TimeoutError(f"nothing came for {TIMEOUT_S:.0f} s")
            if rest_s:
                time.sleep(rest_s)

    def run_for(self, seconds: float) -> None:
        end_s = time.perf_counter() + seconds
        while (left_s := end_s - time.perf_counter()) > 0:
            self.turn(left_s)

    def close(self) -> None:
        self._epoll.close()
