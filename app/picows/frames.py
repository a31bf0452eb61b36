"""What a WebSocket message is made of, and what picows leaves to its users to check."""

import codecs
import struct

from picows import WSFrame, WSMsgType

TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
PING, PONG, CLOSE = WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE
NO_CODE = 1005
MAX_REASON_BYTES = 123  # a control frame has 125


class Fragments:
    """A message that comes in several frames."""

    def __init__(self, is_text: bool) -> None:
        self.data = bytearray()
        self.is_text = is_text
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if is_text else None

    def add(self, data: bytes, final: bool) -> bool:
        """False for text that cannot be UTF-8, whatever may follow."""
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
    if not frame.payload_size:
        return NO_CODE, ""
    return int(frame.get_close_code()), frame.get_close_reason() or ""  # type: ignore[call-overload]


def encode(kind: WSMsgType, payload: bytes) -> bytes:
    """A whole message, or a control frame, of a server (RFC 6455 section 5.2)."""
    first, size = 0x81 if kind is TEXT else 0x80 | kind.value, len(payload)  # nearly always, and sooner found
    if size < 126:
        return bytes((first, size)) + payload
    head = struct.pack("!BBH", first, 126, size) if size < 65_536 else struct.pack("!BBQ", first, 127, size)
    return head + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """RFC 6455 section 5.5.1; `NO_CODE` stands for a frame without one, and a reason that is too long is cut."""
    if code == NO_CODE:
        return encode(CLOSE, b"")
    text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return encode(CLOSE, struct.pack("!H", code) + text.encode())
