"""Clients on plain sockets, from any address of the loopback: exact bytes in, exact bytes out."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.frames import CLOSE, HANDSHAKE, TEXT, masked

PATIENCE_S = 30.0
CHUNK = 65_536
GET = b"GET %b HTTP/1.1\r\nHost: service.test\r\n%b\r\n"


class Raw:
    """One connection; nothing is sent that a test does not send."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def until(self, end: bytes) -> bytes:
        """What comes up to `end`, and what came with it."""
        data = b""
        while end not in data:
            more = self.socket.recv(CHUNK)
            assert more, f"the server hung up after {data!r}"
            data += more
        return data

    def rest(self) -> bytes:
        """Everything until the server hangs up."""
        data = b""
        while more := self.socket.recv(CHUNK):
            data += more
        return data

    def is_open(self) -> bool:
        """Whether the server has not hung up, as far as is known here. What came unread stays."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(PATIENCE_S)

    # WebSocket and STOMP

    def upgrade(self, *headers: str) -> bytes:
        """The head of the answer to a WebSocket handshake."""
        self.send(HANDSHAKE.removesuffix(b"\r\n") + "".join(f"{line}\r\n" for line in headers).encode() + b"\r\n")
        return self.until(b"\r\n\r\n")

    def connect(self, user: str, *headers: str) -> Self:
        """A session of a user who listens to his messages."""
        assert self.upgrade(*headers).startswith(b"HTTP/1.1 101 ")
        self.frame(f"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\npasscode:{user}\n\n\0")
        self.until(b"CONNECTED\n")
        self.frame("SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:r\n\n\0")
        self.until(b"receipt-id:r")
        return self

    def frame(self, text: str) -> None:
        self.send(masked(TEXT, text.encode()))


def ask(port: int, request: bytes, source: str = "127.0.0.1") -> bytes:
    """The whole answer to one request, on a connection that the server closes; without its date."""
    with Raw(port, source) as raw:
        return undated(raw.send(request).rest())


def get(path: str, *headers: str) -> bytes:
    return GET % (path.encode(), "".join(f"{line}\r\n" for line in headers).encode())


def undated(answer: bytes) -> bytes:
    return re.sub(rb"\r\ndate: [^\r]+", b"", answer, count=1)


def refused(detail: str) -> bytes:
    """The answer that says which limit is reached."""
    body = (
        '{"type":"urn:stomp-notify:problem:unavailable","title":"The service cannot do this now","status":503,'
        f'"detail":"{detail}; try again later"}}'
    ).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )


def close_frame(code: int, reason: str) -> bytes:
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes([0x80 | CLOSE, len(payload)]) + payload


@contextmanager
def many(port: int, count: int, source: str = "127.0.0.1") -> Iterator[list[Raw]]:
    """So many connections that say nothing."""
    opened: list[Raw] = []
    try:
        for _ in range(count):
            opened.append(Raw(port, source))
        yield opened
    finally:
        for raw in opened:
            raw.socket.close()
