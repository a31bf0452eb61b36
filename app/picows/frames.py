"""Encode WebSocket frames, join fragments, and check what picows does not check."""

import codecs
import struct

from picows import WSFrame, WSMsgType

TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
PING, PONG, CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE
NO_CODE = 1005  # stands for a close frame without a code (RFC 6455 section 7.4.1)
MAX_REASON_BYTES = 123  # a control frame has at most 125, the code included


class Fragments:
    """A message that arrives in several frames."""

    def __init__(self, is_text: bool) -> None:
        self.data = bytearray()
        self.is_text = is_text
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if is_text else None

    def add(self, data: bytes, final: bool) -> bool:
        """Append a fragment. Return False as soon as a text cannot be UTF-8, whatever follows."""
        self.data += data
        try:
            if self._utf8 is not None:
                self._utf8.decode(data, final)
        except UnicodeDecodeError:
            return False
        return True


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def close_code(frame: WSFrame) -> tuple[int, str]:
    """Return code and reason of a close frame."""
    if not frame.payload_size:
        return NO_CODE, ""
    return int(frame.get_close_code()), frame.get_close_reason() or ""  # type: ignore[call-overload]


def encode(kind: WSMsgType, payload: bytes) -> bytes:
    """Return an unmasked frame with a whole message, or a control frame (RFC 6455 section 5.2)."""
    first, size = 0x81 if kind is TEXT else 0x80 | kind.value, len(payload)  # text comes most, and a constant is faster
    if size < 126:
        return bytes((first, size)) + payload
    head = struct.pack("!BBH", first, 126, size) if size < 65_536 else struct.pack("!BBQ", first, 127, size)
    return head + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """Return a close frame (RFC 6455 section 5.5.1). `NO_CODE`: without a code. A reason that is too long is cut."""
    if code == NO_CODE:
        return encode(CLOSE, b"")
    text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return encode(CLOSE, struct.pack("!H", code) + text.encode())
