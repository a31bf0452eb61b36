"""The port by which a connection tells the gateway what becomes of it."""

from typing import Protocol, TypeVar

from app.disconnects import DisconnectReason
from app.gateway.failures import Failure
from app.hub.session import Session

C = TypeVar("C", contravariant=True)
"""The type of the connection."""


class Owner(Protocol[C]):
    """The maker of connections, which keeps account of them."""

    def admitting(self, connection: C) -> None:
        """Note that the connection is about to become the session `session_id`."""

    async def retire(self, session_id: str) -> None:
        """End a session of this node for a newer one of its device, after the frames that its client has sent."""

    def admitted(self, connection: C, session: Session) -> None:
        """Note that the connection has become a session."""

    def refused(self, connection: C, failure: Failure) -> None:
        """Note that the client is sent an ERROR and the connection ends."""

    def held_back(self, connection: C) -> None:
        """Call `Connection.let_through` later: the rate limit holds a frame back."""

    def ended(self, connection: C, reason: DisconnectReason) -> None:
        """Note that the session has ended, or the connection before it was a session."""

    def gone(self, connection: C) -> None:
        """Note that the transport has closed, too."""
