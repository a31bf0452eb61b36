"""A proxy of the kind that SockJS exists for: it passes HTTP on, and answers 403 to every upgrade."""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 65_536
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Blocker:
    """In a thread of its own, so that tests without an event loop can use it. `blocked` counts the upgrades."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.blocked = 0
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        back = asyncio.create_task(_pump(upstream, writer))
        try:
            with suppress(OSError):
                while data := await reader.read(CHUNK_BYTES):
                    if b"upgrade: websocket" in data.lower():
                        self.blocked += 1
                        writer.write(FORBIDDEN)
                        return
                    downstream.write(data)
                    await downstream.drain()
        finally:
            back.cancel()
            downstream.close()
            writer.close()


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def blocking_websockets(target_port: int) -> Iterator[Blocker]:
    blocker = Blocker(target_port)
    blocker.start()
    try:
        yield blocker
    finally:
        blocker.close()
