"""The buffer of a session over many HTTP requests, without I/O. Time is an argument.

One receiving request at a time is attached, takes frames, and is detached. Messages wait until a request takes them.
"""

from dataclasses import dataclass
from enum import Enum, auto

from app.sockjs.protocol.frames import ANOTHER_CONNECTION, HEARTBEAT, OPEN, encode_array, encode_close

CLOSED_DELAY_S = 5.0  # the longest that a closed session says why it was closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`heartbeat_s` of silence are broken; after `disconnect_delay_s` without a request the client has gone."""

    heartbeat_s: float = 25.0
    disconnect_delay_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferLimits:
    max_messages: int = 1_000
    max_bytes: int = 1_048_576


class Due(Enum):
    """What is due at this time."""

    HEARTBEAT = auto()
    """`next_frame` has one."""
    EXPIRED = auto()
    """Nobody will come any more: forget it."""


class SessionBuffer:
    def __init__(self, *, timing: Timing, limits: BufferLimits, now: float) -> None:
        self._timing = timing
        self._limits = limits
        self._messages: list[bytes] = []
        self._size = 0
        self._is_open = False
        self._close: bytes | None = None
        self._attached = False
        self._since = now  # the last frame while attached, else the detachment

    # The application's side

    @property
    def is_closed(self) -> bool:
        return self._close is not None

    @property
    def has_room(self) -> bool:
        """Whether the buffer is less than half full. Replays and resends wait until it is."""
        limits = self._limits
        return 2 * len(self._messages) < limits.max_messages and 2 * self._size < limits.max_bytes

    def offer(self, message: bytes) -> bool:
        """Take a quoted message. Return False if too much waits. An empty buffer takes a message of any size."""
        size = self._size + len(message)
        if self._messages and (len(self._messages) >= self._limits.max_messages or size > self._limits.max_bytes):
            return False
        self._messages.append(message)
        self._size = size
        return True

    def close(self, code: int, text: str, *, now: float, drop: bool = False) -> None:
        """Close after the waiting messages, or drop them. Later calls do nothing."""
        if self._close is not None:
            return
        self._close = encode_close(code, text)
        if drop:
            self._messages.clear()
            self._size = 0
        if not self._attached:
            self._since = now

    # The side of requests

    @property
    def is_attached(self) -> bool:
        return self._attached

    def attach(self, now: float) -> bytes | None:
        """Attach a request. Return a close frame if another one is attached; else `next_frame` returns the frames."""
        if self._attached:
            return encode_close(*ANOTHER_CONNECTION)
        self._attached = True
        self._since = now
        return None

    def detach(self, now: float) -> None:
        self._attached = False
        self._since = now

    def has_frame(self, now: float) -> bool:
        return not self._is_open or bool(self._messages) or self._close is not None or self._is_silent(now)

    def next_frame(self, max_bytes: int, now: float) -> bytes | None:
        """What the attached request is to write now. Messages go together until they are `max_bytes`.

        After a close frame the request is over, and no longer attached.
        """
        frame = self._take(max_bytes, now)
        if frame is not None:
            self._since = now
        return frame

    def _take(self, max_bytes: int, now: float) -> bytes | None:
        if not self._is_open:
            self._is_open = True
            return OPEN
        if self._messages:
            return encode_array(self._take_messages(max_bytes))
        if self._close is not None:
            self._attached = False
            return self._close
        return HEARTBEAT if self._is_silent(now) else None

    def _take_messages(self, max_bytes: int) -> list[bytes]:
        count = size = 0
        for message in self._messages:
            if count and size + len(message) > max_bytes:
                break
            size += len(message) + 1
            count += 1
        taken = self._messages[:count]
        del self._messages[:count]
        self._size -= size - count
        return taken

    def _is_silent(self, now: float) -> bool:
        return now - self._since >= self._timing.heartbeat_s

    # Time

    def tick(self, now: float) -> Due | None:
        if self._attached:
            return Due.HEARTBEAT if self._is_silent(now) else None
        delay_s = self._timing.disconnect_delay_s
        if self._close is not None:
            delay_s = min(delay_s, CLOSED_DELAY_S)
        return Due.EXPIRED if now - self._since >= delay_s else None
