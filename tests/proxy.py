"""The network between a client and a server, and its accidents: a TCP proxy in the event loop of the test."""

import asyncio
import itertools
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.valkey import reserve_port

CHUNK_BYTES = 65_536
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)  # linger, for no time: TCP sends RST instead of FIN


class Proxy:
    """`allow` begins its life, `close` ends it. What one side closes or resets, it closes or resets on the other.

    It keeps a few chunks of a connection at most; then whoever sends has to wait, as on a real network.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._reservation = reserve_port()
        self.port: int = self._reservation.getsockname()[1]
        # Bytes that were passed on, of all connections.
        self.to_client_bytes = 0
        self.to_server_bytes = 0
        self._listener: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: dict[asyncio.Task[None], list[StreamWriter]] = {}

    @property
    def connections(self) -> int:
        return len(self._connections)

    # Accidents

    def cut(self) -> None:
        """Resets all connections, whatever was under way. New ones are accepted."""
        for task, writers in self._connections.items():
            task.cancel()
            for writer in writers:
                _reset(writer)

    def refuse(self) -> None:
        """New connections are refused; those that are there stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def allow(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def stall(self) -> None:
        """Connections and bytes are accepted and nothing is passed on, not even an end, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def close(self) -> None:
        self.refuse()
        tasks = list(self._connections)
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reservation.close()

    # Connections

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._listener is None:  # it came just before the refusal
            _reset(writer)
            return
        writers = [writer]
        task = asyncio.create_task(self._serve(reader, writers))
        self._connections[task] = writers
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: StreamReader, writers: list[StreamWriter]) -> None:
        """`writers` has the one of the client, and gets the one of the server."""
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            writers.append(server_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, server_writer, to_client=False))
                pumps.create_task(self._pump(server_reader, writers[0], to_client=True))
        except* OSError:
            for writer in writers:
                _reset(writer)
        finally:
            for writer in writers:
                await _close(writer)

    async def _pump(self, reader: StreamReader, writer: StreamWriter, *, to_client: bool) -> None:
        while data := await self._read(reader):
            if to_client:
                self.to_client_bytes += len(data)
            else:
                self.to_server_bytes += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def _read(self, reader: StreamReader) -> bytes:
        """What is to be passed on now: empty for an end, ConnectionError for a reset."""
        try:
            data = await reader.read(CHUNK_BYTES)
        except ConnectionError:
            await self._flowing.wait()
            raise
        await self._flowing.wait()
        return data


def _reset(writer: StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):  # it has ended already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
    writer.transport.abort()


async def _close(writer: StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class RoundRobin(Proxy):
    """Each connection goes to the next server: a balancer that knows nothing of sessions."""

    def __init__(self, target_ports: Sequence[int]) -> None:
        super().__init__(0)
        self._target_ports = itertools.cycle(target_ports)

    async def _serve(self, reader: StreamReader, writers: list[StreamWriter]) -> None:
        self.target_port = next(self._target_ports)
        await super()._serve(reader, writers)


@asynccontextmanager
async def running_round_robin(target_ports: Sequence[int]) -> AsyncIterator[RoundRobin]:
    proxy = RoundRobin(target_ports)
    try:
        await proxy.allow()
        yield proxy
    finally:
        await proxy.close()


@asynccontextmanager
async def running_proxy(target_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target_port)
    try:
        await proxy.allow()
        yield proxy
    finally:
        await proxy.close()
