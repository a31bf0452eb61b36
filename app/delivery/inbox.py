"""What a user has not acknowledged on any device: the port, and the inbox in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from app.errors import InboxFull, Unavailable
from app.messages.message import Envelope
from app.schedule import Schedule

RESOLUTION_MS = 100
OVERHEAD_BYTES = 800  # of a stored message beside its text, measured
RETRY_AFTER_S = 5


class Keep(Enum):
    """When an inbox keeps a message that it is given."""

    ALWAYS = "always"
    UNHEARD = "unheard"
    """Only if no node listens for the receiver: it is sent once to who is there."""
    NEVER = "never"
    """It is kept elsewhere."""


class Placed(NamedTuple):
    """What came of a put: `others` are the other nodes that got it for sessions of theirs.

    `known` is what the inbox has under this id already: nothing was done then. `unsafe`: it is stored and on its way,
    and may be lost all the same, so that whoever pushes has to be told.
    """

    others: int = 0
    kept: bool = True
    known: Envelope | None = None
    unsafe: Unavailable | None = None


PLACED, NOT_KEPT = Placed(), Placed(kept=False)  # what nearly always comes of it


class Inbox(Protocol):
    """Keeps messages until someone acknowledges them or they expire, and tells the other nodes of each."""

    async def put(self, envelope: Envelope, *, keep: Keep = Keep.ALWAYS) -> Placed:
        """Returns once the message is safe, and on its way to the other nodes that listen for its receiver.

        Raises InboxFull or Unavailable; whether it is stored is not known after Unavailable.
        """

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        """What has not expired, oldest first. Raises Unavailable."""

    def remove(self, receiver: str, message_id: str) -> None:
        """Instant; an inbox with a server behind it writes behind. An id that is not there is no error."""

    def expire(self, now_ms: int) -> None:
        """Lets go of what expired, where nothing else does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxLimits:
    """`max_messages` of one user, `max_bytes` of all users together."""

    max_messages: int = 300
    max_bytes: int = 268_435_456


# The envelope, its slot in the schedule, its size. An object of a class takes several times as long to create.
_Entry = tuple[Envelope, int, int]


class MemoryInbox:
    def __init__(self, limits: InboxLimits) -> None:
        self._limits = limits
        self._users: dict[str, dict[str, _Entry]] = {}
        self._schedule: Schedule[Envelope] = Schedule(RESOLUTION_MS)
        self.size_bytes = 0

    async def put(self, envelope: Envelope, *, keep: Keep = Keep.ALWAYS) -> Placed:
        """There are no other nodes, so nobody has heard what is to be kept unheard."""
        if keep is Keep.NEVER:
            return NOT_KEPT
        receiver, message_id = envelope.receiver, envelope.message.id
        entries = self._users.get(receiver)
        if entries is None:
            entries = {}
        elif message_id in entries:
            known, _, _ = entries[message_id]
            return Placed(known=known)
        if len(entries) >= self._limits.max_messages:
            raise inbox_full(receiver, len(entries))
        size = len(envelope.encoder) + OVERHEAD_BYTES
        if self.size_bytes + size > self._limits.max_bytes:
            raise Unavailable("the inboxes of all users together are full", retry_after_s=RETRY_AFTER_S)
        slot = self._schedule.add(envelope, envelope.expires_ms)
        entries[message_id] = envelope, slot, size
        self._users[receiver] = entries
        self.size_bytes += size
        return PLACED

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        entries = self._users.get(receiver)
        if not entries:
            return ()
        return tuple(envelope for envelope, _, _ in entries.values() if envelope.expires_ms > now_ms)

    def remove(self, receiver: str, message_id: str) -> None:
        entries = self._users.get(receiver)
        entry = entries.pop(message_id, None) if entries else None
        if entries is None or entry is None:
            return
        envelope, slot, size = entry
        self._schedule.discard(envelope, slot)
        self.size_bytes -= size
        if not entries:
            del self._users[receiver]

    def expire(self, now_ms: int) -> None:
        for envelope in self._schedule.pop_due(now_ms):
            self.remove(envelope.receiver, envelope.message.id)


def inbox_full(receiver: str, count: int) -> InboxFull:
    return InboxFull(f"{receiver} has {count} unacknowledged messages, the limit", retry_after_s=RETRY_AFTER_S)
