"""The port for what carries the bytes of a connection."""

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
        """Whether the outbox has room for replays and resends."""

    def send(self, data: bytes, binary: bool = False) -> None:
        """Send one STOMP frame or heart-beat. A full outbox ends the connection with SLOW_CONSUMER."""

    def close(self, reason: DisconnectReason) -> None:
        """Close after everything that was sent before. A slow consumer gets nothing more."""

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""

    def resume_reading(self) -> None: ...

    def ask(self) -> bool:
        """Ask the client for a sign of life. Return False if this transport cannot ask now."""

    @property
    def is_asked(self) -> bool:
        """Whether the client was asked for a sign of life and has sent nothing since."""

    async def writable(self) -> None:
        """Return once `has_room` is true or the connection has ended."""
