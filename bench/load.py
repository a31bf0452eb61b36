"""A load generator for measurements: as little Python a message as it can be, so that the server is what is measured.

Runs in a process of its own. Speaks just as much HTTP, WebSocket and STOMP as the service answers here.
"""

import asyncio
import base64
import json
import os
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

_MESSAGE_ID = re.compile(rb"\nmessage-id:([^\n]+)\n")


@dataclass
class Counts:
    answered: int = 0
    refused: int = 0
    received: int = 0
    acknowledged: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    async def all_acknowledged(self) -> None:
        async with asyncio.timeout(30):
            while self.acknowledged < self.answered:  # noqa: ASYNC110 — looked at once in a while, it costs the least
                await asyncio.sleep(0.002)


class Listener(asyncio.Protocol):
    """One session; it acknowledges all that comes."""

    def __init__(self, user: str, counts: Counts) -> None:
        self._counts = counts
        self._buffer = bytearray()
        self._upgraded = False
        self._user = user
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /stomp-ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head, head
            self._upgraded, self._buffer = True, bytearray(rest)
            connect = f"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\nAuthorization:{self._user}\n\n\0"
            subscribe = "SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:ready\n\n\0"
            self._send(connect.encode(), subscribe.encode())
        self._read_frames()

    def _read_frames(self) -> None:
        start, answers = 0, []
        while (place := _next_frame(self._buffer, start)) is not None:
            head, start = place
            frame = bytes(self._buffer[head:start])
            if found := _MESSAGE_ID.search(frame):
                answers.append(b"SEND\ndestination:/app/ack\n\n%b\0" % found[1])
            elif frame.startswith(b"RECEIPT"):
                self.ready.set_result(None)
            elif frame.startswith(b"ERROR"):
                raise AssertionError(frame)
        del self._buffer[:start]
        if answers:
            self._counts.received += len(answers)
            self._counts.acknowledged += len(answers)
            self._send(*answers)

    def _send(self, *frames: bytes) -> None:
        """Masked with zeros: RFC 6455 section 5.3 wants a mask, and this one costs nothing."""
        parts = []
        for frame in frames:
            size = len(frame)
            head = bytes((0x81, 0x80 | size)) if size < 126 else struct.pack(">BBH", 0x81, 0xFE, size)
            parts.append(head + b"\0\0\0\0" + frame)
        self._transport.write(b"".join(parts))


def _next_frame(buffer: bytearray, start: int) -> tuple[int, int] | None:
    """Where its content begins and ends, if all of it is there."""
    if len(buffer) - start < 2:
        return None
    size, head = buffer[start + 1], start + 2
    if size >= 126:
        head = start + (4 if size == 126 else 10)
        if len(buffer) < head:
            return None
        size = int.from_bytes(buffer[start + 2 : head], "big")
    return (head, head + size) if len(buffer) >= head + size else None


async def listen(port: int, users: Sequence[str], counts: Counts) -> Sequence[asyncio.BaseTransport]:
    """A session for each user, subscribed."""
    loop = asyncio.get_running_loop()
    transports = []
    for user in users:
        transport, listener = await loop.create_connection(partial(Listener, user, counts), "127.0.0.1", port)
        await listener.ready
        transports.append(transport)
    return transports


class Pusher(asyncio.Protocol):
    """One HTTP connection that sends its next request when the last was answered."""

    def __init__(self, requests: Sequence[bytes], counts: Counts, end_s: float) -> None:
        self._requests = requests
        self._counts = counts
        self._end_s = end_s
        self._next = 0
        self._buffer = b""
        self._sent_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._push()

    def _push(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        now_s = time.perf_counter()
        self._buffer = b""
        self._counts.latencies_ms.append((now_s - self._sent_s) * 1000)
        if head.startswith(b"HTTP/1.1 200"):
            self._counts.answered += max(1, body.count(b'"sessions":'))
        else:
            self._counts.refused += 1
        if now_s < self._end_s:
            self._push()
        else:
            self._transport.close()
            self.done.set_result(None)


def _content_length(head: bytes) -> int:
    found = re.search(rb"content-length: (\d+)", head.lower())
    return int(found[1]) if found else 0


async def push(
    port: int, users: Sequence[str], counts: Counts, *, seconds: float, connections: int, batch: int
) -> None:
    """Single pushes, or batches of so many."""
    loop = asyncio.get_running_loop()
    end_s = time.perf_counter() + seconds
    pushers = []
    for number in range(connections):
        mine = users[number::connections]
        requests = [_batch(mine, batch)] if batch > 1 else [_single(user) for user in mine]
        _, pusher = await loop.create_connection(partial(Pusher, requests, counts, end_s), "127.0.0.1", port)
        pushers.append(pusher)
    await asyncio.gather(*(pusher.done for pusher in pushers))


def _single(user: str) -> bytes:
    return _request(f"/vh-stomp-wsend/push_all_obj/{user}", b"x" * 200)


def _batch(users: Sequence[str], size: int) -> bytes:
    items = [{"receiver": users[number % len(users)], "data": "x" * 200} for number in range(size)]
    return _request("/vh-stomp-wsend/push_batch", json.dumps(items).encode())


def _request(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
