"""A node that answers everything with 200 and keeps what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Recorder:
    def __init__(self) -> None:
        self.port = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.requests: list[dict[str, str]] = []
        """The headers of each, with names in lower case."""
        self.versions: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").strip().splitlines()
                self.versions.add(first.split()[-1])
                self.requests.append({name.lower(): value for name, value in (line.split(": ", 1) for line in lines)})
                await reader.readexactly(int(self.requests[-1].get("content-length", 0)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@asynccontextmanager
async def recording_node() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with await asyncio.start_server(recorder.serve, "127.0.0.1", 0) as server:
        recorder.port = server.sockets[0].getsockname()[1]
        yield recorder
        for connection in recorder.connections:
            connection.close()
