"""What a node does with what the relay brings from others: the port of its user."""

from collections.abc import Sequence
from typing import Protocol

from app.hub.publication import Notice, Publication
from app.messages.message import Envelope


class Receiver(Protocol):
    """All of it comes in the order of each publisher."""

    def receive_message(self, envelope: Envelope, previous: int) -> None:
        """For a user that is watched here; `previous` is the seq of the message before it."""

    def receive_notice(self, notice: Notice) -> None:
        """For a user that is watched here."""

    async def receive_publication(self, publication: Publication) -> object:
        """For everybody, or for a topic that is watched here; nothing else comes until it is done."""

    def lose(self, users: Sequence[str]) -> None:
        """The relay is away for these users, and what is published for them does not arrive until `resume`."""

    def resume(self, users: Sequence[str]) -> None:
        """The relay was away, and what was published for these users meanwhile did not arrive."""
