"""A TCP link that can be cut, refused, delayed and stalled half-open."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import deque
from contextlib import suppress

from tests.chaos.processes import Port

CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """A proxy from a port of its own to `target_port`. An end or a reset of one side becomes the same on the other."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._port = Port()
        self._delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], list[StreamWriter]] = {}
        self._orphans: list[StreamWriter] = []

    @property
    def port(self) -> int:
        return self._port.number

    # Faults

    async def open(self) -> None:
        """Accept connections, also after `cut`."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Reset every connection and refuse new ones until `open`."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task, writers in self._connections.items():
            task.cancel()
            for writer in writers:
                _reset(writer)

    def orphan(self) -> None:
        """Reset the near side of every connection and leave the far side open, as a change of network does."""
        for task, writers in self._connections.items():
            _reset(writers[0])
            self._orphans += writers[1:]
            del writers[1:]
            task.cancel()

    def stall(self) -> None:
        """Accept connections and bytes and pass nothing on, not even an end, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def delay(self, one_way_s: float) -> None:
        """Hold every chunk for this time, in both directions. Chunks keep their order."""
        self._delay_s = one_way_s

    async def close(self) -> None:
        tasks = list(self._connections)
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._orphans:
            _reset(writer)
        self._port.close()

    # Connections

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._listener is None:
            _reset(writer)
            return
        writers = [writer]
        task = asyncio.create_task(self._serve(reader, writers))
        self._connections[task] = writers
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: StreamReader, writers: list[StreamWriter]) -> None:
        try:
            await self._flowing.wait()
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(server_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, server_writer))
                pumps.create_task(self._pump(server_reader, writers[0]))
        except* OSError:
            for writer in writers:
                _reset(writer)
        finally:
            for writer in writers:
                await _close(writer)

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass bytes on until the end; several chunks can be under way when there is a delay."""
        chunks: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(chunks, arrived, writer))
            while True:
                data = await self._read(reader)
                chunks.append((asyncio.get_running_loop().time() + self._delay_s, data))
                arrived.set()
                if not data:
                    return

    async def _write(self, chunks: deque[tuple[float, bytes]], arrived: asyncio.Event, writer: StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await arrived.wait()
            arrived.clear()
            while chunks:
                due_s, data = chunks.popleft()
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
                await self._flowing.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

    async def _read(self, reader: StreamReader) -> bytes:
        """Return what may be passed on now: empty for an end; raise ConnectionError for a reset."""
        try:
            data = await reader.read(CHUNK_BYTES)
        except ConnectionError:
            await self._flowing.wait()
            raise
        await self._flowing.wait()
        return data


def _reset(writer: StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _close(writer: StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
