"""What an open WebSocket hands its messages to."""

from collections.abc import Callable
from typing import Protocol


class Receiver(Protocol):
    """Takes what an open WebSocket brings. Nothing here waits."""

    @property
    def receive_text(self) -> Callable[[bytes], None]:
        """Takes a whole message that is UTF-8."""

    @property
    def receive_binary(self) -> Callable[[bytes], None]: ...

    def resume(self) -> None:
        """The socket takes frames again: `blocked` has ended."""

    def closed(self, code: int, reason: str) -> None:
        """No message comes any more, and none that is sent arrives; the code is the peer's, or why we gave up."""
