"""HTTP connections that are kept, and two ways to use them: as fast as answers come, or by the clock."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from bench.load.poller import Poller
from bench.load.wire import split_response

READ_BYTES = 262_144
# An item of a batch can fail, and a push can reach no session: neither is what is measured.
FAILURES = (b'"error":', b'"status":"stored"')


class Requester:
    """`on_answer` is called for each answer, in the order of the requests."""

    def __init__(self, poller: Poller, port: int, on_answer: Callable[["Requester"], None]) -> None:
        self._poller = poller
        self._on_answer = on_answer
        self._rest = b""
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.add(self.connection, self._read)

    def send(self, request: bytes) -> None:
        """More than one may be under way."""
        self.connection.sendall(request)

    def _read(self) -> None:
        data = self.connection.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server hung up on an HTTP connection")
        self._rest += data
        while (response := split_response(self._rest)) is not None:
            head, body, self._rest = response
            if not head.startswith(b"HTTP/1.1 200") or any(failure in body for failure in FAILURES):
                raise RuntimeError(f"a push failed: {head[:40]!r} {body[:400]!r}")
            self._on_answer(self)

    def close(self) -> None:
        self._poller.remove(self.connection)
        self.connection.close()


class Pump:
    """Keeps `window` requests under way on each connection until `count` were sent or the time is over.

    A window above 1 is what HTTP calls pipelining: the server always has the next one at hand.
    """

    def __init__(
        self,
        poller: Poller,
        port: int,
        requests: Sequence[bytes],
        *,
        connections: int = 1,
        window: int = 1,
        count: int | None = None,
        seconds: float | None = None,
    ) -> None:
        self._requests: Iterator[bytes] = cycle(requests)
        self._count = count
        self._seconds = seconds
        self._window = window
        self._end_s = 0.0
        self._began_s: dict[Requester, deque[float]] = {}
        self.sent = 0
        self.answered = 0
        self.latencies_s: list[float] = []
        for _ in range(connections):
            self._began_s[Requester(poller, port, self._answered)] = deque()

    def start(self) -> None:
        if self._seconds is not None:
            self._end_s = time.perf_counter() + self._seconds
        for _ in range(self._window):
            for requester in self._began_s:
                self._send_next(requester)

    @property
    def is_done(self) -> bool:
        return self.answered == self.sent and not self._goes_on()

    def _goes_on(self) -> bool:
        if self._count is not None:
            return self.sent < self._count
        return time.perf_counter() < self._end_s

    def _send_next(self, requester: Requester) -> None:
        if self._goes_on():
            self.sent += 1
            self._began_s[requester].append(time.perf_counter())
            requester.send(next(self._requests))

    def _answered(self, requester: Requester) -> None:
        self.answered += 1
        self.latencies_s.append(time.perf_counter() - self._began_s[requester].popleft())
        self._send_next(requester)

    def close(self) -> None:
        for requester in self._began_s:
            requester.close()


class Pacer:
    """Sends at fixed times, whether answers have come or not; a request waits only if all connections are busy.

    `on_sent` is called with the number of the request and the time at which it was due, which is when it is sent
    unless it had to wait: the time that it waits counts.
    """

    def __init__(self, poller: Poller, port: int, requests: Sequence[bytes], *, connections: int) -> None:
        self._poller = poller
        self._requests = requests
        self._free = deque(Requester(poller, port, self._answered) for _ in range(connections))
        self._all = tuple(self._free)
        self.answered = 0

    def run(self, *, count: int, per_s: float, on_sent: Callable[[int, float], None]) -> None:
        """Returns when the last is answered."""
        start_s = time.perf_counter()
        for number in range(count):
            due_s = start_s + number / per_s
            while (wait_s := due_s - time.perf_counter()) > 0:
                self._poller.turn(wait_s)
            late = not self._free
            self._poller.run_until(lambda: bool(self._free))
            on_sent(number, due_s if late else time.perf_counter())
            self._free.popleft().send(self._requests[number % len(self._requests)])
        self._poller.run_until(lambda: self.answered == count)

    def _answered(self, requester: Requester) -> None:
        self.answered += 1
        self._free.append(requester)

    def close(self) -> None:
        for requester in self._all:
            requester.close()
