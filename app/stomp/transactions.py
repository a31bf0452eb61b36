"""What the open transactions of a session have gathered (1.2, "BEGIN"): bounded, and done at their COMMIT."""

from msgspec.structs import replace

from app.stomp.errors import ProtocolError
from app.stomp.events import Ack, Nack, Send

# Bytes of memory that a frame in a transaction costs beside its text and body, and each of its headers.
_FRAME_OVERHEAD = 512
_HEADER_OVERHEAD = 128


class Transactions:
    """At most `max_open` at the same time, which hold `max_bytes` together."""

    __slots__ = ("_gathered", "_max_bytes", "_max_open", "_size_bytes")

    def __init__(self, max_open: int, max_bytes: int) -> None:
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._gathered: dict[str, list[Send | Ack | Nack]] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        """Open ones."""
        return len(self._gathered)

    def begin(self, name: str) -> None:
        if name in self._gathered:
            raise ProtocolError("transaction already begun", f"the transaction {name[:64]!r} is open")
        if len(self) >= self._max_open:
            raise ProtocolError("too many transactions", f"a session may have {self._max_open} open transactions")
        self._gathered[name] = []

    def gather(self, name: str, event: Send | Ack | Nack) -> None:
        """Without its receipt, which is not to be given again at the end."""
        gathered = self._gathered.get(name)
        if gathered is None:
            raise _unknown(name)
        self._size_bytes += _cost(event)
        if self._size_bytes > self._max_bytes:
            raise ProtocolError(
                "transactions too large", f"open transactions may gather {self._max_bytes} bytes in a session"
            )
        gathered.append(replace(event, receipt=None))

    def end(self, name: str) -> list[Send | Ack | Nack]:
        """What it gathered, in its order."""
        gathered = self._gathered.pop(name, None)
        if gathered is None:
            raise _unknown(name)
        self._size_bytes -= sum(_cost(event) for event in gathered)
        return gathered

    def clear(self) -> None:
        self._gathered.clear()


def _unknown(name: str) -> ProtocolError:
    return ProtocolError("unknown transaction", f"the transaction {name[:64]!r} was not begun")


def _cost(event: Send | Ack | Nack) -> int:
    if isinstance(event, Send):
        text = sum(_HEADER_OVERHEAD + len(name) + len(value) for name, value in event.headers.items())
        return _FRAME_OVERHEAD + text + len(event.body)
    ended = event.subscription  # it may have, and live on in the transaction only
    return _FRAME_OVERHEAD + len(event.message_id) + (len(f"{ended.id}{ended.destination}") if ended else 0)
