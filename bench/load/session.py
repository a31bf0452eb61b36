"""One WebSocket session of the load: its opening, and what comes."""

import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from bench.load.wire import BINARY, CLOSE, PING, PONG, TEXT, handshake, masked, payload_of, split_frames

if TYPE_CHECKING:
    from bench.load.audience import Audience

READ_BYTES = 65_536
SOURCES = 8  # addresses of the loopback: each has some 28,000 ports
BIND_ADDRESS_NO_PORT = 24  # IP_BIND_ADDRESS_NO_PORT of linux/in.h: the port is chosen with the destination in view
IN_PROGRESS = (0, 115)


class Session:
    """`due_s`: when the pushes that are on their way to it began. `taken`: messages that have come."""

    __slots__ = (
        "_audience",
        "_is_leaving",
        "_rest",
        "_step",
        "connection",
        "due_s",
        "is_ready",
        "number",
        "recv",
        "taken",
    )

    def __init__(self, audience: "Audience", number: int) -> None:
        self._audience = audience
        self._step = 0
        self._rest = b""
        self._is_leaving = False
        self.is_ready = False
        self.number = number
        self.due_s: deque[float] = deque()
        self.taken = 0
        self.connection = connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{1 + number % SOURCES}", 0))
        self.recv = connection.recv
        error = connection.connect_ex(("127.0.0.1", audience.port))
        if error not in IN_PROGRESS:
            raise OSError(error, os.strerror(error))
        audience.poller.add(connection, self._connected, writable=True)

    def send(self, data: bytes) -> None:
        """Raises BlockingIOError if the server has not read for long: that must not go unnoticed."""
        if self.connection.send(data) != len(data):
            raise BlockingIOError("the server does not read what its sessions send")

    # Opening

    def _connected(self) -> None:
        error = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        path = self._audience.dialect.path
        if error:
            self._fail(os.strerror(error))
        elif path is None:
            self._audience.poller.change(self.connection, self.read)
            self._proceed()
        else:
            self._audience.poller.change(self.connection, self._read_answer)
            self.send(handshake(path))

    def _read_answer(self) -> None:
        data = self._receive()
        head, end, rest = (self._rest + data).partition(b"\r\n\r\n")
        if not data:
            self._lost()
        elif not end:
            self._rest = head
        elif b" 101 " not in head:
            self._fail(head.partition(b"\r\n")[0].decode())
        else:
            self._rest = b""
            self._audience.poller.change(self.connection, self.read)
            self._proceed()
            self._take(rest)

    def _proceed(self) -> None:
        """Says what is next, or is ready."""
        opening = self._audience.dialect.opening
        if self._step < len(opening):
            text = opening[self._step].text.replace("{user}", self._audience.dialect.user_of(self.number))
            self.send(masked(text.encode()))
        else:
            self._audience.became_ready(self)

    def leave(self) -> None:
        """The server is to end the session."""
        self._is_leaving = True
        self.send(masked(self._audience.dialect.leave.encode()))

    # Reading

    def read(self) -> None:
        data = self._receive()
        audience = self._audience
        size = audience.frame_bytes
        if size and len(data) % size == 0 and data and not self._rest and data[0] == TEXT:
            audience.receiver.take(self, data, len(data) // size)
        elif data:
            self._take(data)
        else:
            self._lost()

    def _receive(self) -> bytes:
        try:
            return self.recv(READ_BYTES)
        except ConnectionError:
            return b""

    def _take(self, data: bytes) -> None:
        """The way for all that is not a row of equally long messages."""
        frames, self._rest = split_frames(self._rest + data)
        for frame in frames:
            kind = frame[0]
            if kind in (TEXT, BINARY):
                self._handle(frame, payload_of(frame))
            elif kind == PING:
                self.send(masked(payload_of(frame), PONG))
            elif kind == CLOSE:
                self.send(masked(payload_of(frame)[:2], CLOSE))

    def _handle(self, frame: bytes, payload: bytes) -> None:
        audience = self._audience
        dialect = audience.dialect
        if self._step < len(dialect.opening) and payload.startswith(dialect.opening[self._step].answer):
            self._step += 1
            self._proceed()
        elif payload == b"\n":
            audience.beats += 1
        elif payload == dialect.ping:
            self.send(masked(dialect.pong))
        elif payload.startswith(b"RECEIPT\n"):
            audience.receipts += 1
        elif payload.startswith(b"ERROR\n"):
            audience.note_error(payload.partition(b"\n\n")[0].decode())
        elif b"\nredelivered:true\n" in payload:
            audience.note_error("a message was sent again")
        elif payload.startswith(dialect.message):
            audience.learn(frame)
            audience.receiver.take(self, frame, 1)

    # The end

    def _fail(self, reason: str) -> None:
        self._audience.note_error(reason)
        self._lost()

    def _lost(self) -> None:
        self._audience.poller.remove(self.connection)
        self.connection.close()
        self._audience.has_left(self, as_wished=self._is_leaving)
