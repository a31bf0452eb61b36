"""An open WebSocket on picows: passes on whole messages, writes frames, and closes within a bounded time.

picows parses frames in C and checks their heads. This module checks what spans frames (RFC 6455 sections 5.4, 7, 8.1).
"""

import asyncio
import logging
from collections.abc import Callable

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from app.picows.engine import FLOOD_BYTES, READ_AT_ONCE_BYTES, DiscardInput, ReadMonitor, attach, feed, file_descriptor
from app.picows.flush import write_all
from app.picows.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Fragments,
    close_code,
    encode,
    encode_close,
    is_utf8,
)
from app.picows.receiver import Receiver

CLOSE_TIMEOUT_S = 10.0  # for the closing handshake
FAIL_TIMEOUT_S = 5.0  # for a peer that broke the protocol to read the close frame

PROTOCOL_ERROR, LOST, BAD_TEXT, TOO_BIG = 1002, 1006, 1007, 1009
MAX_CODE = 4999

logger = logging.getLogger(__name__)


class PicowsSocket(WSListener):
    """One connection, after its opening handshake.

    `on_lost` is called when the connection is gone, after `Receiver.closed`. `blocked`: the peer reads too slowly, and
    further frames stay in memory. `has_written` is set by each write. `has_read` is set by each frame, and by any byte
    while input is monitored. The caller resets both. The caller sets `is_asked` after a `ping`; any byte clears it.
    """

    __slots__ = (
        "_buffer_has_grown",
        "_deadline",
        "_deferred_pong",
        "_file",
        "_has_failed",
        "_is_closing",
        "_is_monitored",
        "_is_reported",
        "_max_bytes",
        "_may_be_queued",
        "_message",
        "_on_lost",
        "_ws",
        "blocked",
        "has_read",
        "has_written",
        "is_asked",
        "is_open",
        "reader",
        "receiver",
        "transport",
    )

    def __init__(
        self, transport: asyncio.Transport, receiver: Receiver, *, max_bytes: int, on_lost: Callable[[], None]
    ) -> None:
        self.receiver = receiver
        self.blocked = self.has_read = self.has_written = self.is_asked = False
        self.transport = transport
        self._file = file_descriptor(transport)
        self._may_be_queued = True  # the response to the handshake
        self._on_lost = on_lost
        self._max_bytes = max_bytes
        self._message: Fragments | None = None
        self._deferred_pong: bytes | None = None
        self.is_open = True
        self._is_closing = self._has_failed = self._is_reported = False
        self._deadline: asyncio.TimerHandle | None = None
        self._attach()

    def _attach(self) -> None:
        self._is_monitored = self._buffer_has_grown = False
        self.reader = attach(self.transport, self, max_bytes=self._max_bytes, on_broken=self.on_broken)

    def feed(self, data: bytes) -> None:
        """Process bytes as if they had just been read."""
        while data:
            data = feed(self.reader, data)  # a large frame replaces the reader

    def monitor(self) -> None:
        """Note each byte that arrives, until the next large frame has been read."""
        if not self._is_monitored and not self._has_failed:
            self._is_monitored = True
            self.transport.set_protocol(ReadMonitor(self.reader, self))

    def ping(self) -> None:
        self.monitor()  # a peer in mid-frame cannot send a pong: any byte counts
        self.write(encode(PING, b""))

    # Sending

    def write(self, frames: bytes) -> None:
        """Write encoded frames. Frames of one call travel together. Ignored once the connection is closing."""
        write_all([(self, frames)])

    def begin_write(self) -> int | None:
        """Note a write. Return the descriptor to write to, or None if it has to go through the transport.

        That is so under TLS, and while the transport has data queued.
        """
        self.has_written = True
        if self._may_be_queued:
            self._may_be_queued = bool(self.transport.get_write_buffer_size())
        return None if self._may_be_queued else self._file

    def write_rest(self, data: bytes) -> None:
        """Give the transport what the kernel has no room for."""
        self._may_be_queued = True
        self.transport.write(data)

    def close(self, code: int, reason: str = "", timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Start the closing handshake, after what was sent before. `Receiver.closed` is called at its end."""
        if not self.is_open:
            return
        self.write(encode_close(code, reason))
        self._is_closing, self.is_open = True, False
        self.transport.resume_reading()
        self.expire_in(timeout_s)

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection: the peer broke the protocol (RFC 6455 section 7.1.7)."""
        if not self._is_closing:
            logger.debug("a WebSocket is closed with %d: %s", code, reason)
            self.close(code, reason, FAIL_TIMEOUT_S)
            self._abandon(code, reason)

    def _abandon(self, code: int, reason: str) -> None:
        """Discard further input, and wait for the peer to close."""
        self._has_failed = True
        self.transport.set_protocol(DiscardInput(self.on_lost))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self.expire_in(FAIL_TIMEOUT_S)
        self._report_end(code, reason)

    def expire_in(self, seconds: float) -> None:
        """Abort the connection after this time. The earliest of several deadlines counts."""
        loop = asyncio.get_running_loop()
        if self._deadline is None or loop.time() + seconds < self._deadline.when():
            self._cancel_deadline()
            self._deadline = loop.call_later(seconds, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    # Called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.has_read = True
        if frame.tail_size > FLOOD_BYTES:
            self._buffer_has_grown = True
            self.monitor()
        kind = frame.msg_type
        if (
            kind is TEXT
            and frame.fin
            and self.is_open
            and self._message is None
            and not self._buffer_has_grown
            and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            data = frame.get_payload_as_bytes()
            if data.isascii() and len(data) <= READ_AT_ONCE_BYTES:  # nearly all messages
                self.receiver.receive_text(data)
                return
        self._receive(kind, frame)
        if self._buffer_has_grown and not frame.tail_size and not self._is_closing:
            self._attach()  # a new reader has a small buffer

    def _receive(self, kind: WSMsgType, frame: WSFrame) -> None:
        if self._is_closing:
            if kind is CLOSE and not self._has_failed:
                self._finish(*close_code(frame))
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.fail(PROTOCOL_ERROR, "reserved bits are set")
        elif kind is TEXT or kind is BINARY or kind is CONTINUATION:
            self._receive_data(kind, frame)
        elif kind is PING:
            self._receive_ping(frame.get_payload_as_bytes())
        elif kind is CLOSE:
            self._receive_close(*close_code(frame))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.on_lost()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self._deferred_pong is not None:
            self.write(encode(PONG, self._deferred_pong))
            self._deferred_pong = None
        if self.is_open:
            self.receiver.resume()

    def on_broken(self, code: int, reason: str) -> None:
        """Called when picows cannot read on: close with its code, or with the peer's if a close frame came before."""
        handshake = self._ws.close_handshake
        if self._is_closing:
            if not self._has_failed:
                self._abandon(code, reason)
        elif handshake is not None and handshake.recv is not None:  # on_ws_frame has not seen it yet
            self._receive_close(int(handshake.recv.code) or NO_CODE, handshake.recv.reason or "")  # type: ignore[call-overload]
        else:
            self.fail(code, reason)

    def on_lost(self) -> None:
        self._file = None  # the descriptor may soon be another connection's
        self._cancel_deadline()
        self._report_end(LOST, "")
        self._on_lost()
        del (
            self.reader,
            self._ws,
            self.receiver,
            self._on_lost,
        )  # cycles, which would wait for the collector

    # Receiving

    def _receive_data(self, kind: WSMsgType, frame: WSFrame) -> None:
        data = frame.get_payload_as_bytes()
        if kind is CONTINUATION:
            self._continue(data, bool(frame.fin))
        elif self._message is not None:
            self.fail(PROTOCOL_ERROR, "a message begins before the end of another")
        elif not frame.fin:
            self._message = Fragments(kind is TEXT)
            self._continue(data, False)
        elif kind is TEXT and not (data.isascii() or is_utf8(data)):
            self.fail(BAD_TEXT, "the text is not UTF-8")
        else:
            self._pass_on(data, kind is TEXT)
        self._buffer_has_grown = self._buffer_has_grown or len(data) > READ_AT_ONCE_BYTES

    def _continue(self, data: bytes, final: bool) -> None:
        message = self._message
        if message is None:
            self.fail(PROTOCOL_ERROR, "there is no message to continue")
        elif len(message.data) + len(data) > self._max_bytes:
            self.fail(TOO_BIG, f"the message is larger than {self._max_bytes} bytes")
        elif not message.add(data, final):
            self.fail(BAD_TEXT, "the text is not UTF-8")
        elif final:
            self._message = None
            self._pass_on(bytes(message.data), message.is_text)

    def _pass_on(self, data: bytes, is_text: bool) -> None:
        receive = self.receiver.receive_text if is_text else self.receiver.receive_binary
        receive(data)

    def _receive_ping(self, data: bytes) -> None:
        """Send a pong. While the peer does not read, only the latest ping is remembered (RFC 6455 section 5.5.3)."""
        if self.blocked:
            self._deferred_pong = data
        else:
            self.write(encode(PONG, data))

    def _receive_close(self, code: int, reason: str) -> None:
        if code in (0, LOST) or code > MAX_CODE:  # picows checks the others
            self.fail(PROTOCOL_ERROR, "no such close code")
            return
        self.write(encode_close(code))
        self._is_closing, self.is_open = True, False
        self._finish(code, reason)

    def _finish(self, code: int, reason: str) -> None:
        """Close the connection: both close frames were sent, and the server closes first (RFC 6455 section 7.1.1)."""
        self.transport.close()
        self.expire_in(CLOSE_TIMEOUT_S)
        self._report_end(code, reason)

    def _report_end(self, code: int, reason: str) -> None:
        if not self._is_reported:
            self._is_reported, self.is_open = True, False
            self.receiver.closed(code, reason)
