"""The port through which transports pass connections on. The gateway implements it."""

from typing import Protocol

from app.disconnects import DisconnectReason
from app.hub.transport import Transport


class ConnectionHandler(Protocol):
    """Handles one connection. No method waits."""

    def receive(self, data: bytes) -> None:
        """Take bytes of the client, cut anywhere."""

    def end(self, reason: DisconnectReason) -> None:
        """End the connection for a reason that the transport has found. Closes the transport."""

    def closed(self) -> None:
        """Called once, when the transport has ended."""


class Endpoint(Protocol):
    """Creates the handlers of connections."""

    def open(self, transport: Transport) -> ConnectionHandler:
        """Return a handler for a new connection. May use the transport, and even close it, before it returns."""
