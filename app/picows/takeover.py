"""The ASGI extension through which an application takes over the socket under its WebSocket."""

from collections.abc import Mapping
from typing import Any, Protocol

from app.picows.receiver import Receiver
from app.picows.socket import PicowsSocket

EXTENSION = "picows.takeover"


class Takeover(Protocol):
    """The value of `scope["extensions"][EXTENSION]["takeover"]`."""

    @property
    def socket(self) -> PicowsSocket:
        """The socket. The application must have accepted the connection."""

    def hand_over(self, receiver: Receiver) -> None:
        """Pass all messages to the receiver from now on, first those that have arrived already."""


def takeover_of(scope: Mapping[str, Any]) -> Takeover | None:
    """Return the takeover of a connection; None if another server runs the application."""
    extension: Mapping[str, Takeover] = scope.get("extensions", {}).get(EXTENSION, {})
    return extension.get("takeover")
