"""A connection's outbound queue, bounded in frames and bytes."""

from collections import deque
from dataclasses import dataclass

from app.disconnects import SLOW_CONSUMER, DisconnectReason


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    max_frames: int = 1_000
    max_bytes: int = 1_048_576


class Outbox:
    """A bounded queue of (data, binary). An empty queue takes a frame of any size, or it could never be sent."""

    __slots__ = ("_frames", "_limits", "size_bytes")

    def __init__(self, limits: OutboxLimits) -> None:
        self._limits = limits
        self._frames: deque[tuple[bytes, bool]] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def offer(self, data: bytes, binary: bool = False) -> DisconnectReason | None:
        """Take the frame and return None, or return the reason to end the connection."""
        size = self.size_bytes + len(data)
        if self._frames and (len(self._frames) >= self._limits.max_frames or size > self._limits.max_bytes):
            return SLOW_CONSUMER
        self._frames.append((data, binary))
        self.size_bytes = size
        return None

    def take(self) -> tuple[bytes, bool]:
        """Remove and return the oldest frame and whether it is binary. Raises IndexError if there is none."""
        data, binary = self._frames.popleft()
        self.size_bytes -= len(data)
        return data, binary

    def clear(self) -> None:
        self._frames.clear()
        self.size_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether the queue is less than half full. Replays and resends wait until it is."""
        return 2 * len(self._frames) < self._limits.max_frames and 2 * self.size_bytes < self._limits.max_bytes
