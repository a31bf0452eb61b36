"""Frames of one turn of the event loop leave in one write for each connection."""

import asyncio
from typing import cast

from app.disconnects import NORMAL, RESTART
from app.hub.outbox import OutboxLimits
from app.picows.flush import MAX_WRITES, Flusher, write_all
from app.picows.frames import BINARY, TEXT, encode
from app.picows.receiver import Receiver
from app.picows.socket import PicowsSocket
from app.transports.opening import WebSocketOptions
from app.transports.picows import GATHERED_BYTES, PicowsTransport


class Wire:
    """Records each write."""

    def __init__(self, writes: list[bytes]) -> None:
        self.write = writes.append

    def resume_reading(self) -> None: ...


class Socket:
    """Records writes. It has no descriptor, so all of them go through the transport."""

    is_open = True

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_with = 0
        self.blocked = False
        self.transport = Wire(self.writes)

    @property
    def socket(self) -> PicowsSocket:
        return cast(PicowsSocket, self)

    def begin_write(self) -> None:
        """Return no descriptor."""

    def write_rest(self, data: bytes) -> None:
        self.transport.write(data)

    def hand_over(self, receiver: Receiver) -> None: ...

    def write(self, frames: bytes) -> None:
        write_all([(self.socket, frames)])

    def close(self, code: int, reason: str, timeout_s: float) -> None:
        self.closed_with = code

    def expire_in(self, seconds: float) -> None: ...


class Setup:
    """A flusher, and transports on sockets that record writes."""

    def __init__(self) -> None:
        self.flusher = Flusher()

    def transport(self, **limits: int) -> tuple[PicowsTransport, Socket]:
        socket = Socket()
        options = WebSocketOptions(outbox=OutboxLimits(**limits))
        return PicowsTransport(socket, options, self.flusher, None), socket


def text(data: bytes) -> bytes:
    return encode(TEXT, data)


async def test_frames_of_one_turn_leave_in_one_write() -> None:
    transport, socket = Setup().transport()
    transport.send(b"one")
    transport.send(b"two", binary=True)
    assert socket.writes == []

    await asyncio.sleep(0)
    assert socket.writes == [text(b"one") + encode(BINARY, b"two")]

    transport.send(b"three")
    await asyncio.sleep(0)
    assert socket.writes[1:] == [text(b"three")]


async def test_large_output_is_written_before_the_end_of_the_turn() -> None:
    transport, socket = Setup().transport()
    for _ in range(3):
        transport.send(bytes(GATHERED_BYTES // 2))
    assert len(socket.writes) == 1
    transport.send(b"last")

    await asyncio.sleep(0)
    assert b"".join(socket.writes) == text(bytes(GATHERED_BYTES // 2)) * 3 + text(b"last")


async def test_one_turn_writes_to_a_bounded_number_of_connections() -> None:
    setup = Setup()
    scene = [setup.transport() for _ in range(2 * MAX_WRITES + 1)]
    for transport, _ in scene:
        transport.send(b"x")

    for expected in (MAX_WRITES, 2 * MAX_WRITES, 2 * MAX_WRITES + 1):
        await asyncio.sleep(0)
        assert [len(socket.writes) for _, socket in scene] == [1] * expected + [0] * (len(scene) - expected)


async def test_close_frame_follows_frames_sent_in_the_same_turn() -> None:
    transport, socket = Setup().transport()
    transport.send(b"good-bye")
    transport.close(NORMAL)
    assert (socket.writes, socket.closed_with) == ([text(b"good-bye")], 1000)

    transport.send(b"too late")
    await asyncio.sleep(0)
    assert len(socket.writes) == 1


async def test_frames_from_the_outbox_follow_gathered_frames() -> None:
    transport, socket = Setup().transport()
    transport.send(b"first")
    socket.blocked = True
    for number in range(100):
        transport.send(b"%d" % number)
    socket.blocked = False
    transport.resume()

    await asyncio.sleep(0)
    assert b"".join(socket.writes) == text(b"first") + b"".join(text(b"%d" % number) for number in range(100))
    assert len(socket.writes) < 10


async def test_blocked_peer_is_written_to_only_while_it_reads() -> None:
    transport, socket = Setup().transport()
    socket.blocked = True
    for _ in range(100):
        transport.send(b"x")

    def write(frames: bytes) -> None:
        socket.writes.append(frames)
        socket.blocked = True

    socket.transport.write = write
    socket.blocked = False
    transport.resume()
    assert len(socket.writes) == 1
    assert transport.has_room

    transport.close(RESTART)
    assert socket.closed_with == 0
    while socket.blocked:
        socket.blocked = False
        transport.resume()
        if socket.closed_with:
            break
    assert b"".join(socket.writes) == text(b"x") * 100


async def test_frame_is_encoded_once_for_all_receivers() -> None:
    flusher = Flusher()
    data = b"x" * 300
    assert flusher.frame(data) is flusher.frame(data)
    assert flusher.frame(b"y") == text(b"y")
    assert flusher.frame(data) == text(data)
