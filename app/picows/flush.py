"""Gathers what is sent within one turn of the loop, so that it leaves in one write for each connection."""

import asyncio
import os
from collections.abc import Iterable
from typing import Protocol

from app.picows.frames import TEXT, encode

MAX_WRITES = 256  # before the loop gets a turn: one or two milliseconds


class Writable(Protocol):
    """An open WebSocket. Writing begins with `begin_write`; `write_rest` takes what the kernel had no room for."""

    is_open: bool

    def begin_write(self) -> int | None: ...

    def write_rest(self, data: bytes) -> None: ...


class FlushSource(Protocol):
    def take(self) -> tuple[Writable, bytes]:
        """The frames that have been gathered, if any are left."""


class Flusher:
    """One for all connections of a loop: they are written to in the order in which they came."""

    def __init__(self) -> None:
        self._writers: list[FlushSource] = []
        self._text = self._framed = b""

    def add(self, writer: FlushSource) -> None:
        """What it has gathered is written at the end of this turn."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        self._writers.append(writer)

    def frame(self, text: bytes) -> bytes:
        """The WebSocket frame of a text; made once for a text that goes to many in succession."""
        if text is not self._text:
            self._text, self._framed = text, encode(TEXT, text)
        return self._framed

    def _write(self) -> None:
        now, self._writers = self._writers[:MAX_WRITES], self._writers[MAX_WRITES:]
        if self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        write_all([writer.take() for writer in now])


def write_all(writes: Iterable[tuple[Writable, bytes]]) -> None:
    """Frames to many, in this order; those to a connection whose end has begun are ignored.

    All that can be done before the first write is: each leaves little of what is ours in the caches of the processor.
    """
    ready = [(socket, socket.begin_write(), data) for socket, data in writes if data and socket.is_open]
    for socket, file, data in ready:
        try:
            size = 0 if file is None else os.write(file, data)
        except OSError:  # the kernel has no room, or the peer has gone: the loop finds out
            size = 0
        if size < len(data):
            socket.write_rest(data[size:])
