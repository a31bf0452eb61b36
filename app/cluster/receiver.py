"""What a node does with what the relay brings from others: the port of its user."""

from collections.abc import Sequence
from typing import Protocol

from app.hub.publication import Notice, Publication
from app.messages.message import Envelope


class Receiver(Protocol):
    """All of it comes in the order of each publisher."""

    def receive_message(self, envelope: Envelope) -> None:
        """For a user that is watched here."""

    def receive_notice(self, notice: Notice) -> None:
        """For a user that is watched here."""

    async def receive_publication(self, publication: Publication) -> object:
        """For everybody, or for a topic that is watched here; nothing else comes until it is done."""

    def resume(self, users: Sequence[str]) -> None:
        """The relay was away: what was meant for these users meanwhile waits in their inboxes."""
