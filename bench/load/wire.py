"""The bytes of WebSocket (RFC 6455) and HTTP, as much of them as a load generator needs."""

import re
import struct
from collections.abc import Sequence

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


def handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked(payload: bytes, kind: int = TEXT) -> bytes:
    """A frame of a client. The mask is zero: section 5.3 wants one, and this one costs nothing."""
    size = len(payload)
    head = bytes((kind, 0x80 | size)) if size < 126 else struct.pack(">BBH", kind, 0xFE, size)
    return head + b"\0\0\0\0" + payload


def frame_of_size(size: int) -> bytes:
    """A text frame of a server that is so many bytes long with its head, from 130 to 65,539."""
    return struct.pack(">BBH", TEXT, 126, size - 4) + b"x" * (size - 4)


def split_frames(data: bytes) -> tuple[Sequence[bytes], bytes]:
    """Whole frames of a server with their heads, and the beginning of the next."""
    frames, start = [], 0
    while (end := _end_of_frame(data, start)) is not None:
        frames.append(data[start:end])
        start = end
    return frames, data[start:]


def payload_of(frame: bytes) -> bytes:
    return frame[_head_bytes(frame[1]) :]


def _head_bytes(size: int) -> int:
    return 2 if size < 126 else 4 if size == 126 else 10


def _end_of_frame(data: bytes, start: int) -> int | None:
    if len(data) - start < 2:
        return None
    size = data[start + 1]
    head = start + _head_bytes(size)
    if size >= 126:
        if len(data) < head:
            return None
        size = int.from_bytes(data[start + 2 : head], "big")
    return head + size if len(data) >= head + size else None


def request(path: str, body: bytes, content_type: str = "text/plain") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def split_response(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Head and body of the first response, and what follows it; None as long as it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, start = data[: end + 2], end + 4
    found = _LENGTH.search(head)
    if found is None:
        assert not _CHUNKED.search(head), "a response in chunks was not expected"
        return head, b"", data[start:]
    stop = start + int(found[1])
    return (head, data[start:stop], data[stop:]) if len(data) >= stop else None
