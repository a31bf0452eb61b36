"""What it costs to send: broadcasts to a thousand sessions on each WebSocket transport. About a minute.

The server is pinned to one core and the readers to the other. They only count bytes: whoever parsed frames in Python
would be slower than the server. The transports take turns in the same run, so the ratio means something on a busy
machine too; the numbers do not.
"""

import asyncio
import os
import select
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx

from bench.cluster import cpu_s, pinned_server
from bench.load import Counts, listen, push
from bench.tables import write_table
from tests.server import Server

TRANSPORTS = ("picows", "asgi")
ROUNDS = 5
SESSIONS = 1000
BROADCASTS = 100
BODY = "x" * 256
BATCH, BATCH_USERS, BATCH_S = 100, 20, 2.0
HANDSHAKE = (
    b"GET /stomp-ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass
class Result:
    """Deliveries a second, and CPU of the server for each of them in µs."""

    per_s: float
    cpu_us: float


class Readers:
    """Sessions that are subscribed and count what comes."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._sockets = {}
        self._buffer = bytearray(262_144)
        for number in range(count):
            connection = _subscribed(port, f"test-{number}")
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)

    def read(self, expected: int) -> None:
        """Returns when so many bytes have come."""
        receive = {fd: connection.recv_into for fd, connection in self._sockets.items()}
        buffer, poll = self._buffer, self._poll.poll
        while expected > 0:
            events = poll(10.0)
            assert events, f"{expected} bytes did not come"
            for fd, _ in events:
                expected -= receive[fd](buffer)
        pass

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._poll.close()


def _subscribed(port: int, user: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(HANDSHAKE)
    assert b" 101 " in connection.recv(4096)
    for frame in (
        f"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\nAuthorization:{user}\n\n\0",
        "SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:r\n\n\0",
    ):
        connection.sendall(bytes((0x81, 0x80 | len(frame), 0, 0, 0, 0)) + frame.encode())
        assert not connection.recv(4096).startswith(b"ERROR")
    return connection


def broadcasts(server: Server) -> Result:
    """New sessions every time: these readers answer no ping."""
    with httpx.Client(base_url=server.url) as http:

        def broadcast(count: int) -> None:
            for _ in range(count):
                http.post("/vh-stomp-wsend/push_all_obj", content=BODY).raise_for_status()

        readers = Readers(server.port, SESSIONS)
        with _subscribed(server.port, "test-sample") as sample:
            broadcast(1)
            frame_bytes = len(sample.recv(65_536))  # all are equally long
        readers.read(SESSIONS * frame_bytes)
        start_s, start_cpu_s = time.perf_counter(), cpu_s(server)
        poster = threading.Thread(target=broadcast, args=(BROADCASTS,))
        poster.start()
        readers.read(SESSIONS * BROADCASTS * frame_bytes)
        wall_s, used_s = time.perf_counter() - start_s, cpu_s(server) - start_cpu_s
        poster.join()
        readers.close()
    count = SESSIONS * BROADCASTS
    return Result(count / wall_s, used_s / count * 1e6)


def batches(server: Server) -> Result:
    """Acknowledged pushes in batches, several for each session at once."""
    return asyncio.run(_batches(server))


async def _batches(server: Server) -> Result:
    users = [f"test-{number}" for number in range(BATCH_USERS)]
    counts = Counts()
    transports = await listen(server.port, users, counts)
    start_s, start_cpu_s = time.perf_counter(), cpu_s(server)
    await push(server.port, users, counts, seconds=BATCH_S, connections=1, batch=BATCH)
    await counts.all_acknowledged()
    wall_s, used_s = time.perf_counter() - start_s, cpu_s(server) - start_cpu_s
    for transport in transports:
        transport.close()
    return Result(counts.answered / wall_s, used_s / counts.answered * 1e6)


def compare(name: str, measure: Callable[[Server], Result], servers: dict[str, Server], rounds: int) -> tuple[str, ...]:
    results: dict[str, list[Result]] = {transport: [] for transport in servers}
    for _ in range(rounds):
        for transport, server in servers.items():
            results[transport].append(measure(server))
    per_s = [statistics.median(one.per_s for one in results[transport]) for transport in TRANSPORTS]
    cpu_us = [statistics.median(one.cpu_us for one in results[transport]) for transport in TRANSPORTS]
    return (
        name,
        *(f"{one:,.0f}" for one in per_s),
        f"{per_s[0] / per_s[1]:.2f}",
        *(f"{one:.1f}" for one in cpu_us),
        f"{cpu_us[1] / cpu_us[0]:.2f}",
    )


def main() -> None:
    with suppress(OSError):
        os.sched_setaffinity(0, {1})
    with ExitStack() as stack:
        env = {"INBOUND_FRAMES_PER_S": "100000", "MAX_UNACKED_PER_SESSION": "100000"}
        servers = {name: stack.enter_context(pinned_server(WS_TRANSPORT=name, **env)) for name in TRANSPORTS}
        write_table(
            ("deliveries a second", *TRANSPORTS, "ratio", *(f"CPU µs {name}" for name in TRANSPORTS), "ratio"),
            compare(f"{SESSIONS:,} sessions, broadcasts", broadcasts, servers, ROUNDS),
            compare(f"{BATCH_USERS} sessions, acknowledged batches of {BATCH}", batches, servers, 3),
        )


if __name__ == "__main__":
    main()
