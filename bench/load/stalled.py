"""A client that subscribes and then never reads again."""

import socket

from bench.load.dialects import stomp
from bench.load.wire import handshake, masked

SEGMENT_BYTES = 536  # segments of the loopback have 64 KB, and the kernel of the server buffers some of them
BUFFER_BYTES = 4096
TIMEOUT_S = 10.0
QUIET_S = 0.5
READ_BYTES = 65_536
TOO_SLOW = (4008).to_bytes(2, "big")  # the code of the close frame


class StalledReader:
    """Its buffers are small, so that the server notices after few messages."""

    def __init__(self, port: int, user: str) -> None:
        self._connection = socket.socket()
        self._connection.settimeout(TIMEOUT_S)
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
        """Reads what is left: whether the server has said that this client is too slow, or has hung up."""
        read = b""
        self._connection.settimeout(QUIET_S)
        with self._connection as connection:
            try:
                while TOO_SLOW not in read[-READ_BYTES:]:
                    data = connection.recv(READ_BYTES)
                    if not data:
                        return True
                    read += data
            except ConnectionError:
                return True
            except TimeoutError:
                return False
        return True
