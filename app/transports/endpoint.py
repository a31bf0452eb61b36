"""What a transport carries bytes for. The gateway is one; a transport asks for no more than this."""

from typing import Protocol

from app.disconnects import DisconnectReason
from app.hub.transport import Transport


class ConnectionHandler(Protocol):
    """One connection. Nothing here waits."""

    def receive(self, data: bytes) -> None:
        """What the client sent, as it came."""

    def end(self, reason: DisconnectReason) -> None:
        """Something is wrong with the connection: it shall close its transport."""

    def closed(self) -> None:
        """The client is gone, or everything is said; called once, at the end."""


class Endpoint(Protocol):
    def open(self, transport: Transport) -> ConnectionHandler:
        """The transport may be used, and even closed, before this returns."""
