"""What a user has not acknowledged on any device: the port, and the inbox in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.delivery.schedule import Schedule
from app.errors import InboxFull, Unavailable
from app.messages.message import Envelope

RESOLUTION_MS = 100
OVERHEAD_BYTES = 800  # of a stored message beside its text, measured
RETRY_AFTER_S = 5


class Inbox(Protocol):
    """Keeps messages until someone acknowledges them or they expire."""

    async def put(self, envelope: Envelope) -> None:
        """Returns once the message is safe; an id that is there already stays as it is.

        Raises InboxFull or Unavailable; nothing is stored then.
        """

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        """What has not expired, oldest first. Raises Unavailable."""

    def remove(self, receiver: str, message_id: str) -> None:
        """Instant; an inbox with a server behind it writes behind. An id that is not there is no error."""

    def expire(self, now_ms: int) -> int:
        """Drops what expired, and says how many; touches nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxLimits:
    """`max_messages` of one user, `max_bytes` of all users together."""

    max_messages: int = 300
    max_bytes: int = 268_435_456


@dataclass(slots=True)
class _Entry:
    envelope: Envelope
    slot: int
    size: int


class MemoryInbox:
    def __init__(self, limits: InboxLimits) -> None:
        self._limits = limits
        self._users: dict[str, dict[str, _Entry]] = {}
        self._schedule: Schedule[tuple[str, str]] = Schedule(RESOLUTION_MS)
        self.size_bytes = 0

    async def put(self, envelope: Envelope) -> None:
        receiver, message_id = envelope.receiver, envelope.message.id
        entries = self._users.get(receiver, {})
        if message_id in entries:
            return
        if len(entries) >= self._limits.max_messages:
            raise InboxFull(
                f"{receiver} has {len(entries)} unacknowledged messages, the limit", retry_after_s=RETRY_AFTER_S
            )
        size = len(envelope.encoder) + OVERHEAD_BYTES
        if self.size_bytes + size > self._limits.max_bytes:
            raise Unavailable("the inboxes of all users together are full", retry_after_s=RETRY_AFTER_S)
        slot = self._schedule.add((receiver, message_id), envelope.expires_ms)
        entries[message_id] = _Entry(envelope, slot, size)
        self._users[receiver] = entries
        self.size_bytes += size

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        entries = self._users.get(receiver)
        if not entries:
            return ()
        return tuple(entry.envelope for entry in entries.values() if entry.envelope.expires_ms > now_ms)

    def remove(self, receiver: str, message_id: str) -> None:
        entries = self._users.get(receiver)
        entry = entries.pop(message_id, None) if entries else None
        if entries is None or entry is None:
            return
        self._schedule.discard((receiver, message_id), entry.slot)
        self.size_bytes -= entry.size
        if not entries:
            del self._users[receiver]

    def expire(self, now_ms: int) -> int:
        due = self._schedule.pop_due(now_ms)
        for receiver, message_id in due:
            self.remove(receiver, message_id)
        return len(due)
