"""The port for persisted messages that no device has acknowledged."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from app.messages.message import Envelope


class Archive(Protocol):
    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        """Return whether the receiver has pending messages. Raises Unavailable, at the latest after `timeout_s`."""

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        """Return the oldest unacknowledged messages, in order, and how many more there are. Raises Unavailable."""

    def delivered(self, receiver: str, message_id: str) -> None:
        """Mark a message as acknowledged. Returns at once and writes later; unknown ids are ignored."""

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        """Return an awaitable that completes when the mark is written; None if no mark waits."""

    def replayed(self, message_id: str) -> None:
        """Mark a message as sent for the first time. Returns at once and writes later."""


class NoArchive:
    """An archive without messages."""

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        return False

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        return (), 0

    def delivered(self, receiver: str, message_id: str) -> None:
        pass

    def confirmation(self, receiver: str, message_id: str) -> None:
        pass

    def replayed(self, message_id: str) -> None:
        pass
