"""What a connection tells the one that opened it."""

from typing import Protocol, TypeVar

from app.disconnects import DisconnectReason
from app.gateway.failures import Failure
from app.hub.session import Session

C = TypeVar("C", contravariant=True)
"""The type of the connection."""


class Owner(Protocol[C]):
    """Makes connections, and learns from each what becomes of it."""

    def admitting(self, connection: C) -> None:
        """The connection is about to become the session of its `session_id`."""

    async def retire(self, session_id: str) -> None:
        """End a session of this node, for a newer one of its device; what its client has sent is done first."""

    def admitted(self, connection: C, session: Session) -> None:
        """The connection is a session."""

    def refused(self, connection: C, failure: Failure) -> None:
        """The client gets an ERROR, and the connection ends."""

    def held_back(self, connection: C) -> None:
        """A frame waits for `Connection.let_through`."""

    def ended(self, connection: C, reason: DisconnectReason) -> None:
        """The session, or the connection that never was one, is over."""

    def gone(self, connection: C) -> None:
        """The transport has gone as well."""
