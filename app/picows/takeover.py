"""How an ASGI application gets at the socket under its WebSocket."""

from collections.abc import Mapping
from typing import Any, Protocol

from app.picows.receiver import Receiver
from app.picows.socket import PicowsSocket

EXTENSION = "picows.takeover"


class Takeover(Protocol):
    """What is in `scope["extensions"][EXTENSION]["takeover"]`."""

    @property
    def socket(self) -> PicowsSocket:
        """Of an accepted connection."""

    def hand_over(self, receiver: Receiver) -> None:
        """From now on everything goes to the receiver, beginning with what has come already."""


def takeover_of(scope: Mapping[str, Any]) -> Takeover | None:
    extension: Mapping[str, Takeover] = scope.get("extensions", {}).get(EXTENSION, {})
    return extension.get("takeover")
