"""Our own fakes of our own ports."""

import asyncio

from app.auth.ports import Identity
from app.disconnects import DisconnectReason
from app.errors import Unauthorized
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.parser import FrameParser


class FakeTransport:
    """Keeps what was sent; `frames` reads it as a client would."""

    name = "fake"
    remote: str | None = "192.0.2.1:4000"

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.binary: list[bytes] = []
        self.reason: DisconnectReason | None = None
        self.reading = True
        self.can_ask = False
        self.is_asked = False
        self.room = asyncio.Event()
        self.room.set()

    @property
    def has_room(self) -> bool:
        return self.room.is_set()

    def send(self, data: bytes, binary: bool = False) -> None:
        if self.reason is None:
            self.sent.append(data)
            if binary:
                self.binary.append(data)

    def close(self, reason: DisconnectReason) -> None:
        if self.reason is None:
            self.reason = reason

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def ask(self) -> bool:
        """The client answers when the test sets `is_asked` to False."""
        self.is_asked = self.can_ask
        return self.can_ask

    async def writable(self) -> None:
        await self.room.wait()

    def frames(self, version: Version = Version.V12) -> list[Frame]:
        """What was sent since the last call, without heart-beats."""
        parser = FrameParser(FrameLimits(max_frame_bytes=10_000_000))
        parser.version = version
        parser.feed(b"".join(self.sent))
        self.sent.clear()
        frames = []
        while (frame := parser.next_frame()) is not None:
            frames.append(frame)
        return frames


class FakeAuthenticator:
    """The token is the user; `bad` is nobody."""

    async def authenticate(self, token: str) -> Identity:
        if token == "bad":
            raise Unauthorized("nobody")
        return Identity(token, frozenset({"push"} if token == "pusher" else ()))
