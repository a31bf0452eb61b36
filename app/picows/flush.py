"""Gather what is sent within one turn of the event loop, so that it leaves in one write for each connection."""

import asyncio
import os
from collections.abc import Iterable
from typing import Protocol

from app.picows.frames import TEXT, encode

MAX_WRITES = 256  # in one turn of the event loop: one or two milliseconds


class Writable(Protocol):
    """A connection that may be written to past its transport."""

    is_open: bool

    def begin_write(self) -> int | None:
        """Return the descriptor to write to, or None if everything has to go through `write_rest`."""

    def write_rest(self, data: bytes) -> None:
        """Give the transport what the kernel did not take."""


class FlushSource(Protocol):
    def take(self) -> tuple[Writable, bytes]:
        """Return the frames that are still gathered, perhaps none, with their connection."""


class Flusher:
    """Flushes all connections of an event loop, in the order in which they were added."""

    def __init__(self) -> None:
        self._writers: list[FlushSource] = []
        self._text = self._framed = b""

    def add(self, writer: FlushSource) -> None:
        """Write the frames of `writer` at the end of this turn of the event loop."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        self._writers.append(writer)

    def frame(self, text: bytes) -> bytes:
        """Return the WebSocket frame of a text. It is encoded once for a text that goes to many in succession."""
        if text is not self._text:
            self._text, self._framed = text, encode(TEXT, text)
        return self._framed

    def _write(self) -> None:
        now, self._writers = self._writers[:MAX_WRITES], self._writers[MAX_WRITES:]
        if self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        write_all([writer.take() for writer in now])


def write_all(writes: Iterable[tuple[Writable, bytes]]) -> None:
    """Write frames to many connections, in this order. Those for a connection that is closing are dropped.

    Everything is prepared before the first write: each system call evicts our data from the caches of the processor.
    """
    ready = [(socket, socket.begin_write(), data) for socket, data in writes if data and socket.is_open]
    for socket, file, data in ready:
        try:
            size = 0 if file is None else os.write(file, data)
        except OSError:  # no room in the kernel, or the peer has gone: left to the transport
            size = 0
        if size < len(data):
            socket.write_rest(data[size:])
