"""Frames of the open transactions of a session (1.2, "BEGIN"), kept within limits until their COMMIT."""

from msgspec.structs import replace

from app.stomp.errors import ProtocolError
from app.stomp.events import Ack, Nack, Send

# Bytes of memory besides text and body, of each frame and of each header.
_FRAME_OVERHEAD = 512
_HEADER_OVERHEAD = 128


class Transactions:
    """At most `max_open` open transactions, which together hold at most `max_bytes`."""

    __slots__ = ("_frames", "_max_bytes", "_max_open", "_size_bytes")

    def __init__(self, max_open: int, max_bytes: int) -> None:
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._frames: dict[str, list[Send | Ack | Nack]] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        """Return the number of open transactions."""
        return len(self._frames)

    def begin(self, name: str) -> None:
        """Open a transaction. Raises ProtocolError."""
        if name in self._frames:
            raise ProtocolError("transaction already begun", f"the transaction {name[:64]!r} is open")
        if len(self) >= self._max_open:
            raise ProtocolError("too many transactions", f"a session may have {self._max_open} open transactions")
        self._frames[name] = []

    def add(self, name: str, event: Send | Ack | Nack) -> None:
        """Add a frame without its receipt, which is sent at once. Raises ProtocolError."""
        frames = self._frames.get(name)
        if frames is None:
            raise _unknown(name)
        self._size_bytes += _cost(event)
        if self._size_bytes > self._max_bytes:
            raise ProtocolError(
                "transactions too large", f"the open transactions of a session may hold {self._max_bytes} bytes"
            )
        frames.append(replace(event, receipt=None))

    def end(self, name: str) -> list[Send | Ack | Nack]:
        """Close a transaction and return its frames in order. Raises ProtocolError."""
        frames = self._frames.pop(name, None)
        if frames is None:
            raise _unknown(name)
        self._size_bytes -= sum(_cost(event) for event in frames)
        return frames

    def clear(self) -> None:
        self._frames.clear()


def _unknown(name: str) -> ProtocolError:
    return ProtocolError("unknown transaction", f"the transaction {name[:64]!r} was not begun")


def _cost(event: Send | Ack | Nack) -> int:
    if isinstance(event, Send):
        text = sum(_HEADER_OVERHEAD + len(name) + len(value) for name, value in event.headers.items())
        return _FRAME_OVERHEAD + text + len(event.body)
    ended = event.subscription  # if it has ended, only the transaction keeps it in memory
    return _FRAME_OVERHEAD + len(event.message_id) + (len(f"{ended.id}{ended.destination}") if ended else 0)
