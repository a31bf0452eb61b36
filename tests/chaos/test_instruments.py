"""The instruments themselves: the decoder of frames, and the link that breaks."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Link
from tests.chaos.stomp import Decoder, Frame, encode

SILENCE_S = 0.1
FRAMES = [
    Frame("RECEIPT", {"receipt-id": "a:b\\n\n"}, b""),
    Frame("MESSAGE", {"content-length": "4"}, b"a\0\n\n"),
    Frame("MESSAGE", {"message-id": "1"}, "é".encode()),
]


def test_frames_are_found_wherever_the_stream_is_cut() -> None:
    stream = "\n".join(encode(frame.command, frame.headers, frame.body.decode()) for frame in FRAMES).encode()
    for cut in range(len(stream)):
        decoder = Decoder()
        assert [*decoder.feed(stream[:cut]), *decoder.feed(stream[cut:])] == FRAMES


@asynccontextmanager
async def echo_behind_link() -> AsyncIterator[tuple[Link, asyncio.Queue[str]]]:
    """A server that echoes, and a queue that says how its connections ended."""
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
            ends.put_nowait("end")
        except ConnectionError:
            ends.put_nowait("reset")
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = Link(server.sockets[0].getsockname()[1])
    try:
        await link.open()
        yield link, ends
    finally:
        await link.close()
        server.close()


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        yield reader, writer
    finally:
        writer.close()


async def test_a_cut_link_resets_and_refuses_until_it_is_opened() -> None:
    async with echo_behind_link() as (link, ends), connected(link) as (reader, _):
        link.cut()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        assert await ends.get() == "reset"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", link.port)
        await link.open()
        async with connected(link):
            pass


async def test_a_stalled_link_takes_bytes_and_passes_them_later() -> None:
    async with echo_behind_link() as (link, ends), connected(link) as (reader, writer):
        link.stall()
        writer.write(b"late")
        writer.write_eof()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), SILENCE_S)
        assert ends.empty()
        link.flow()
        assert await reader.readexactly(4) == b"late"
        assert await ends.get() == "end"


async def test_a_delayed_link_keeps_the_order() -> None:
    async with echo_behind_link() as (link, _), connected(link) as (reader, writer):
        link.delay(SILENCE_S)
        begin_s = asyncio.get_running_loop().time()
        for letter in (b"a", b"b", b"c"):
            writer.write(letter)
            await asyncio.sleep(0.01)
        assert await reader.readexactly(3) == b"abc"
        assert asyncio.get_running_loop().time() - begin_s >= 2 * SILENCE_S


async def test_an_orphaned_connection_stays_open_at_the_far_side() -> None:
    async with echo_behind_link() as (link, ends), connected(link) as (reader, _):
        link.orphan()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ends.get(), SILENCE_S)
        async with connected(link):
            pass
