"""Gathers what is sent within one turn of the loop, so that it leaves in one write for each connection."""

import asyncio
import logging
from typing import Protocol

from app.transports.picows_frames import TEXT, encode

WRITES = 256  # before the loop gets a turn: one or two milliseconds

logger = logging.getLogger(__name__)


class Writer(Protocol):
    def flush(self) -> None:
        """Writes what has been gathered."""


class WriteTurn:
    """One for all connections of a loop: they are written to in the order in which they came."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []
        self._text = self._framed = b""

    def add(self, writer: Writer) -> None:
        """Has `flush` called at the end of this turn."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._flush)
        self._writers.append(writer)

    def frame(self, text: bytes) -> bytes:
        """The WebSocket frame of a text; made once for a text that goes to many in succession."""
        if text is not self._text:
            self._text, self._framed = text, encode(TEXT, text)
        return self._framed

    def _flush(self) -> None:
        now, self._writers = self._writers[:WRITES], self._writers[WRITES:]
        if self._writers:
            asyncio.get_running_loop().call_soon(self._flush)
        for writer in now:
            try:
                writer.flush()
            except Exception:  # the outer edge of the callback: the others must not wait for ever
                logger.exception("what was sent to %r could not be written", writer)
