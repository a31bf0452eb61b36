"""The port by which the relay hands over what other nodes send."""

from collections.abc import Sequence
from typing import Protocol

from app.hub.publication import Notice, Publication
from app.messages.message import Envelope


class Receiver(Protocol):
    """Receives what other nodes send, in the order of each publisher."""

    def receive_message(self, envelope: Envelope, previous: int) -> None:
        """Receive a message for a watched user. `previous` is the seq of the user's message before it."""

    def receive_notice(self, notice: Notice) -> None:
        """Receive a change for a watched user."""

    async def receive_publication(self, publication: Publication) -> object:
        """Receive a broadcast, or a publication for a watched topic. Nothing else arrives until this completes."""

    def lose(self, users: Sequence[str]) -> None:
        """Note that messages for these users do not arrive until `resume`: the relay has lost its connection."""

    def resume(self, users: Sequence[str]) -> None:
        """Note that messages for these users arrive again. Those published since `lose` were missed."""
