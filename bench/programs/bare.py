"""What any server has to do at least: the bytes of a broadcast, written to each socket in turn, and nothing else."""

import socket
import time
from dataclasses import dataclass

BACKLOG = 2048
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """`start_s` is of the monotonic clock; `cpu_s` what the loop took."""

    start_s: float
    cpu_s: float


class BareLoop:
    """A server without a protocol that sends to every connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.settimeout(TIMEOUT_S)
        self._connections: list[socket.socket] = []

    def idle(self) -> None:
        pass

    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def accept(self, count: int) -> None:
        for _ in range(count):
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(True)
            self._connections.append(connection)

    def send(self, frame: bytes, rounds: int) -> Sent:
        """To all, so many times."""
        sends = [connection.send for connection in self._connections]
        start_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            for send in sends:
                send(frame)
        return Sent(start_s=start_s, cpu_s=time.process_time() - cpu_s)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
