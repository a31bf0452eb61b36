"""A SockJS session over HTTP: a transport that outlives its requests."""

import asyncio
import contextlib
from typing import Protocol

from app.disconnects import SLOW_CONSUMER, DisconnectReason
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.buffer import Due, SessionBuffer
from app.sockjs.protocol.frames import INTERRUPTED, quote
from app.timing.clock import Clock
from app.timing.flag import Flag
from app.transports.endpoint import ConnectionHandler, Endpoint

MAX_WAITING_SENDS = 16  # requests of one session that wait until it takes more; clients send one at a time
HANDOVER_S = 0.2  # for the end of a receiving request to be noticed: its client may come again before that


class Busy(Exception):
    """Raised when too many messages wait. The client may try again."""


class Source(Protocol):
    """The port that gives a receiving request its frames, from this node or another."""

    async def next(self, max_bytes: int) -> bytes | None:
        """Return the next frame, None when the response must end."""

    async def finish(self) -> None:
        """End the request before its response ends, so that the client's next request can be attached at once."""

    def release(self) -> None:
        """At the end, whatever happened. Without `finish` before, the client has gone in the middle of something, and
        `next` returns None.
        """


class OneFrame:
    """A source of one frame, or of none, that belongs to no session."""

    is_ready = True

    def __init__(self, frame: bytes | None) -> None:
        self._frame = frame

    async def next(self, max_bytes: int) -> bytes | None:
        frame, self._frame = self._frame, None
        return frame

    async def finish(self) -> None: ...

    def finish_now(self) -> None: ...

    def release(self) -> None: ...

    def lose(self) -> None: ...


class SockJsSession:
    """A session. Call `open` before anything else."""

    def __init__(self, *, name: str, remote: str | None, options: SockJsOptions, clock: Clock) -> None:
        self.name = name
        self.remote = remote
        self._as_text = options.as_text
        self._encode = options.new_encode()
        self._clock = clock
        self._buffer = SessionBuffer(timing=options.timing, limits=options.buffer, now=clock.monotonic())
        self._peer: ConnectionHandler | None = None
        self._lease: Lease | None = None
        self._waiting_sends = 0
        self._turn = asyncio.Lock()
        self._wake = Flag()
        self._readable = Flag(True)
        self._room = Flag(True)

    def open(self, endpoint: Endpoint) -> None:
        self._peer = endpoint.open(self)

    # The port

    @property
    def has_room(self) -> bool:
        return self._buffer.has_room

    @property
    def is_closed(self) -> bool:
        return self._buffer.is_closed

    def send(self, data: bytes, binary: bool = False) -> None:
        if self._buffer.is_closed:
            return
        if self._buffer.offer(quote(self._as_text(data, binary))):
            self._wake.set()
            if not self._buffer.has_room:
                self._room.clear()
        elif self._peer is not None:
            self._peer.end(SLOW_CONSUMER)

    def close(self, reason: DisconnectReason) -> None:
        self._close(reason.code, reason.text, drop=reason is SLOW_CONSUMER)

    def _close(self, code: int, text: str, *, drop: bool = False) -> None:
        self._buffer.close(code, text, now=self._clock.monotonic(), drop=drop)
        for event in (self._wake, self._room, self._readable):
            event.set()

    def pause_reading(self) -> None:
        if not self._buffer.is_closed:
            self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def ask(self) -> bool:
        """Return False: SockJS clients reply to no frame."""
        return False

    is_asked = False

    async def writable(self) -> None:
        await self._room.wait()

    # Requests that send

    async def receive(self, messages: list[str]) -> None:
        """Returns once the endpoint has them: the client sends no more before. Raises Busy.

        To a session that is closed it is no error: the client is told by the requests that receive.
        """
        if self._waiting_sends >= MAX_WAITING_SENDS:
            raise Busy
        self._waiting_sends += 1
        try:
            async with self._turn:  # in the order in which they came, also when reading stops again in between
                while not self._readable.is_set():
                    await self._readable.wait()
                self._take(messages)
        finally:
            self._waiting_sends -= 1

    def _take(self, messages: list[str]) -> None:
        for message in messages:
            if self._peer is not None and not self._buffer.is_closed:
                self._peer.receive(self._encode(message))

    def end(self, reason: DisconnectReason) -> None:
        """End the session for something that the client did."""
        if self._peer is not None:
            self._peer.end(reason)

    # Requests that receive

    def attach(self) -> "Lease | OneFrame | Queued":
        return Queued(self) if self._buffer.is_attached else self.take_place()

    def take_place(self) -> "Lease | OneFrame":
        refusal = self._buffer.attach(self._clock.monotonic())
        if refusal is not None:
            return OneFrame(refusal)
        self._lease = Lease(self)
        return self._lease

    async def vacant(self) -> None:
        """Return once no request is attached."""
        while (lease := self._lease) is not None:
            await lease.over.wait()

    @property
    def has_frame(self) -> bool:
        return self._buffer.has_frame(self._clock.monotonic())

    async def next_frame(self, lease: "Lease", max_bytes: int) -> bytes | None:
        while self._lease is lease:
            frame = self._buffer.next_frame(max_bytes, self._clock.monotonic())
            if frame is not None:
                if self._buffer.has_room:
                    self._room.set()
                if not self._buffer.is_attached:  # it was the close frame
                    self._lease = None
                    lease.over.set()
                    self.finish()
                return frame
            self._wake.clear()
            await self._wake.wait()
        return None

    def detach(self, lease: "Lease", *, interrupted: bool) -> None:
        if self._lease is not lease:
            return
        self._lease = None
        self._buffer.detach(self._clock.monotonic())
        self._wake.set()
        lease.over.set()
        if interrupted:
            self.interrupt()

    def interrupt(self) -> None:
        """End the session after a frame was lost on its way to the client."""
        self._close(*INTERRUPTED)
        self.finish()

    # Time

    def tick(self, now: float) -> bool:
        """Send what is due. Return False if the session can be dropped."""
        due = self._buffer.tick(now)
        if due is Due.HEARTBEAT:
            self._wake.set()
        if due is Due.EXPIRED:
            self.finish()
        return due is not Due.EXPIRED

    def finish(self) -> None:
        """Tell the endpoint that the session has ended."""
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.closed()
            self._close(*INTERRUPTED)


class Lease:
    """The right of one request to the frames of its session, until `over`."""

    __slots__ = ("_session", "over")

    def __init__(self, session: SockJsSession) -> None:
        self.over = Flag()
        self._session = session

    @property
    def is_ready(self) -> bool:
        return self._session.has_frame

    async def next(self, max_bytes: int) -> bytes | None:
        return await self._session.next_frame(self, max_bytes)

    async def finish(self) -> None:
        self.finish_now()

    def finish_now(self) -> None:
        self._session.detach(self, interrupted=False)

    def release(self) -> None:
        self._session.detach(self, interrupted=True)

    def lose(self) -> None:
        """Release the request and report that its last frame never reached the client."""
        self.release()
        self._session.interrupt()


class Queued:
    """A request that waits while another is attached. It is attached if that one ends soon, and refused otherwise."""

    is_ready = False

    def __init__(self, session: SockJsSession) -> None:
        self._session = session
        self._source: Lease | OneFrame = OneFrame(None)
        self._is_waiting = True

    async def next(self, max_bytes: int) -> bytes | None:
        if self._is_waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANDOVER_S):
                    await self._session.vacant()
        if self._is_waiting:  # its own client may have gone meanwhile
            self._is_waiting = False
            self._source = self._session.take_place()
        return await self._source.next(max_bytes)

    async def finish(self) -> None:
        self.finish_now()

    def finish_now(self) -> None:
        self._is_waiting = False
        self._source.finish_now()

    def release(self) -> None:
        self._is_waiting = False
        self._source.release()

    def lose(self) -> None:
        self._is_waiting = False
        self._source.lose()
