"""A client that subscribes and then never reads again."""

import socket
import time

from bench.load.dialects import stomp
from bench.load.wire import handshake, masked

SEGMENT_BYTES = 536  # segments of the loopback have 64 KB, and the kernel of the server buffers some of them
BUFFER_BYTES = 4096
PATIENCE_S = 10.0


class StalledReader:
    """Its buffers are small, so that the server notices after few messages."""

    def __init__(self, port: int, user: str) -> None:
        self._connection = socket.socket()
        self._connection.settimeout(PATIENCE_S)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._connection.connect(("127.0.0.1", port))
        self._say(handshake("/stomp-ws"), b"\r\n\r\n")
        for step in stomp().opening:
            self._say(masked(step.text.replace("{user}", user).encode()), step.answer)

    def _say(self, data: bytes, answer: bytes) -> None:
        self._connection.sendall(data)
        assert answer in self._connection.recv(4096)

    def was_cut_off(self) -> bool:
        """Reads what is left. False if the server goes on waiting for it."""
        deadline_s = time.monotonic() + PATIENCE_S
        self._connection.settimeout(1.0)
        with self._connection as connection:
            while time.monotonic() < deadline_s:
                try:
                    if not connection.recv(65_536):
                        return True
                except ConnectionError:
                    return True
                except TimeoutError:
                    return False
        return False
