"""A scripted Redis server, for misbehaviour that a real one cannot show."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hiredis import Reader

OK = b"+OK\r\n"
GREETING = {b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"PING": b"+PONG\r\n", b"ROLE": b"*1\r\n$6\r\nmaster\r\n"}


class ScriptedServer:
    """Replies to a command with the bytes in `answers` under its first word, or with OK. None means no reply.

    Bytes may be anything, also less or more than an answer. `commands` are what came, each with its words.
    """

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[bytes, bytes | None] = {**GREETING}
        self.commands: list[list[bytes]] = []
        self.writers: list[StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The connections that the peer has not closed."""
        return len(self._tasks)

    @property
    def verbs(self) -> list[str]:
        return [command[0].decode() for command in self.commands]

    def say(self, data: bytes) -> None:
        """Send bytes on all connections, without a command."""
        for writer in self.writers:
            writer.write(data)

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self.writers.append(writer)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        parser = Reader()
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65_536):
                    parser.feed(data)
                    while command := parser.gets():
                        self.commands.append(command)
                        answer = self.answers.get(command[0].upper(), OK)
                        if answer is not None:
                            writer.write(answer)
        finally:
            self.writers.remove(writer)
            writer.close()

    async def aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.aclose()
