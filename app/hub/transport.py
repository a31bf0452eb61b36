"""The port behind which a connection's bytes travel."""

from typing import Protocol

from app.disconnects import DisconnectReason

WEBSOCKET = "websocket"


class Transport(Protocol):
    """Carries one session: WebSocket in several implementations, SockJS over HTTP.

    No method but `writable` waits. After `close` every call is ignored.
    """

    name: str
    """For people and metrics: websocket, xhr-streaming, …"""

    remote: str | None
    """Address of the client, if it is known."""

    @property
    def has_room(self) -> bool:
        """Whether there is room for more than what has to be sent now; what can wait should."""

    def send(self, data: bytes, binary: bool = False) -> None:
        """Hands over one STOMP frame or heart-beat. A full outbox ends the connection with SLOW_CONSUMER."""

    def close(self, reason: DisconnectReason) -> None:
        """Ends the connection after what was sent before; a slow consumer gets nothing more."""

    def pause_reading(self) -> None:
        """The connection has enough to do: bring no more until `resume_reading`."""

    def resume_reading(self) -> None: ...

    def ask(self) -> bool:
        """Asks the client for a sign of life. False: this transport cannot, or not now."""

    @property
    def is_asked(self) -> bool:
        """It has been asked, and nothing has come since."""

    async def writable(self) -> None:
        """Returns once there is room for more, or the connection has ended."""
