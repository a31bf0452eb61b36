"""Gathers what is sent within one turn of the loop, so that it leaves in one write for each connection."""

import asyncio
from typing import Protocol

from app.transports.picows_frames import TEXT, encode
from app.transports.picows_socket import PicowsSocket, write_all

WRITES = 256  # before the loop gets a turn: one or two milliseconds


class Writer(Protocol):
    def take(self) -> tuple[PicowsSocket, bytes]:
        """The frames that have been gathered, if any are left."""


class WriteTurn:
    """One for all connections of a loop: they are written to in the order in which they came."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []
        self._text = self._framed = b""

    def add(self, writer: Writer) -> None:
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
        now, self._writers = self._writers[:WRITES], self._writers[WRITES:]
        if self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        write_all([writer.take() for writer in now])
