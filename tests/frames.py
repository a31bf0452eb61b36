"""WebSocket frames by hand, for what no client library would send."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HANDSHAKE = (
    b"GET /stomp-ws HTTP/1.1\r\nHost: service.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A WebSocket frame of a client; with a mask of zeros the data can be read in it."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", len(data))
    return head + bytes(4) + data


class RawClient:
    """An open connection, one frame at a time. It answers nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.writer.write(frame)
        await self.writer.drain()

    def pause(self) -> None:
        """Reads no more, so that what comes has to wait in the kernel and in the server."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and data of the next frame. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(30):
            first, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def closed(self) -> int | None:
        """The close code of the server, None for an empty close frame; and that it hangs up after it."""
        while True:
            opcode, data = await self.receive()
            if opcode == CLOSE:
                break
        await self.send(masked(CLOSE, data))
        async with asyncio.timeout(30):
            assert await self.reader.read() == b""
        return int.from_bytes(data[:2], "big") if data else None


@asynccontextmanager
async def raw_client(port: int, handshake: bytes = HANDSHAKE) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(handshake)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
