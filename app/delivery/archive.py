"""Where persisted messages wait for a user who is away: the port."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from app.messages.message import Envelope


class Archive(Protocol):
    async def holds_for(self, receiver: str, *, patience_s: float) -> bool:
        """Whether anything is pending: for most who come nothing is. Raises Unavailable, after that time at last."""

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        """The oldest that no session has acknowledged, in their order, and how many more there are.

        Raises Unavailable.
        """

    def delivered(self, receiver: str, message_id: str) -> None:
        """Mark a message that a device has acknowledged. Instant, written behind; unknown ids are no error."""

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        """Completes when the mark is written; None if none waits."""

    def replayed(self, message_id: str) -> None:
        """A message that no session had been sent is sent now. Instant, written behind."""


class NoArchive:
    """Nothing is persisted."""

    async def holds_for(self, receiver: str, *, patience_s: float) -> bool:
        return False

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        return (), 0

    def delivered(self, receiver: str, message_id: str) -> None:
        pass

    def confirmation(self, receiver: str, message_id: str) -> None:
        pass

    def replayed(self, message_id: str) -> None:
        pass
