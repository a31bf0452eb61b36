"""How an ASGI application gets at the socket under its WebSocket."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from app.picows.socket import PicowsSocket

EXTENSION = "stomp-notify.picows"


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


class Takeover(Protocol):
    """What is in `scope["extensions"][EXTENSION]["takeover"]`."""

    @property
    def socket(self) -> "PicowsSocket":
        """Of an accepted connection."""

    def hand_over(self, receiver: Receiver) -> None:
        """From now on everything goes to the receiver, beginning with what has come already."""


def takeover_of(scope: Mapping[str, Any]) -> Takeover | None:
    extension: Mapping[str, Takeover] = scope.get("extensions", {}).get(EXTENSION, {})
    return extension.get("takeover")
