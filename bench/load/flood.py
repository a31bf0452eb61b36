"""Clients that mean no good: sessions without a token as fast as they can be opened, and readers that never read."""

import re
import socket
import time
from collections import Counter
from itertools import count

from bench.load.stalled import StalledReader

CONNECTIONS = 4
TIMEOUT_S = 10.0
READ_BYTES = 65_536
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Flood:
    """Runs in a process of its own (`Remote`)."""

    def __init__(self) -> None:
        self._stalled: list[StalledReader] = []

    def idle(self) -> None: ...

    def open_sockjs(self, port: int, seconds: float) -> dict[str, int]:
        """Opens SockJS sessions one behind the other on a few connections; the answers by their status."""
        numbers, answers = count(), Counter[str]()
        connections = [_Connection(port) for _ in range(CONNECTIONS)]
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for connection in connections:
                connection.ask(next(numbers))
            answers.update(connection.answer() for connection in connections)
        for connection in connections:
            connection.close()
        return dict(answers)

    def stall(self, port: int, readers: int) -> None:
        """So many sessions subscribe and never read again."""
        self._stalled = [StalledReader(port, f"test-stalled-{number}") for number in range(readers)]

    def were_cut_off(self) -> int:
        """How many readers the server has hung up on."""
        cut_off = sum(reader.was_cut_off() for reader in self._stalled)
        self._stalled.clear()
        return cut_off


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(end) and length is not None and len(body) >= int(length[1])


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)

    def ask(self, number: int) -> None:
        path = f"/stomp-ws/000/flood-{number}/xhr"
        self._socket.sendall(f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n".encode())

    def answer(self) -> str:
        """The status. A connection that was closed is opened again."""
        data = b""
        while not is_whole(data):
            try:
                more = self._socket.recv(READ_BYTES)
            except ConnectionError:
                more = b""
            if not more:
                self.close()
                self._open()
                break
            data += more
        return data[9:12].decode() or "closed"

    def close(self) -> None:
        self._socket.close()
