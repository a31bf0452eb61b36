"""What a hostile or broken client does to a server. Each attack returns once the server has ended it."""

import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress

Attack = Callable[[int], int]
"""Takes the port, returns how much was sent or how many connections there were."""

TIMEOUT_S = 60.0
PIECE_BYTES = 65_536
ENDLESS_BYTES = 100_000_000
SILENT, HALF = 3_000, 1_000
HEAD = b"POST /vh-stomp-wsend/push_all_obj HTTP/1.1\r\nHost: bench\r\n"


def many_headers(port: int) -> int:
    """100 MB of small headers."""
    return _pour(port, HEAD, b"x:y\r\n")


def endless_url(port: int) -> int:
    """A path of 100 MB."""
    return _pour(port, b"GET /", b"a")


def silent_sockets(port: int) -> int:
    """Connections that never say anything."""
    return _wait_for_the_end(port, b"", SILENT)


def half_heads(port: int) -> int:
    """Requests that never come to the end of their head."""
    return _wait_for_the_end(port, HEAD, HALF)


ATTACKS: Mapping[str, Attack] = {
    "100 MB of headers": many_headers,
    "an endless URL": endless_url,
    f"{SILENT:,} silent sockets": silent_sockets,
    f"{HALF:,} half heads": half_heads,
}


def _pour(port: int, start: bytes, piece: bytes) -> int:
    many = piece * (PIECE_BYTES // len(piece))
    sent = 0
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection, suppress(ConnectionError):
        connection.sendall(start)
        while sent < ENDLESS_BYTES:
            connection.sendall(many)
            sent += len(many)
    return sent


def _wait_for_the_end(port: int, said: bytes, count: int) -> int:
    """Raises TimeoutError if the server keeps some of the connections."""
    deadline_s = time.monotonic() + TIMEOUT_S
    with ExitStack() as stack:
        ended = select.poll()
        open_: dict[int, socket.socket] = {}
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            with suppress(ConnectionError):
                connection.sendall(said)
            open_[connection.fileno()] = connection
            ended.register(connection, select.POLLIN)
        while open_:
            for number, _ in ended.poll(1_000):
                with suppress(ConnectionError):
                    if open_[number].recv(PIECE_BYTES):
                        continue
                ended.unregister(number)
                del open_[number]
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the server still keeps {len(open_)} of {count} connections")
    return count


class Attacker:
    """Runs attacks in a process of its own, at the lowest priority for its core."""

    def __init__(self) -> None:
        os.nice(10)

    def idle(self) -> None: ...

    def run(self, name: str, port: int) -> int:
        return ATTACKS[name](port)
