"""The port through which an open WebSocket passes its messages on."""

from collections.abc import Callable
from typing import Protocol


class Receiver(Protocol):
    """Receives the messages of an open WebSocket, and its end. No method waits."""

    @property
    def receive_text(self) -> Callable[[bytes], None]:
        """Takes a whole text message, which is valid UTF-8."""

    @property
    def receive_binary(self) -> Callable[[bytes], None]:
        """Takes a whole binary message."""

    def resume(self) -> None:
        """Called when the peer reads again and `PicowsSocket.blocked` has ended."""

    def closed(self, code: int, reason: str) -> None:
        """Called once, at the end of the connection. The code is the peer's, or says why this side closed."""
