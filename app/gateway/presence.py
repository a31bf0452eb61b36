"""The port for the sessions that a user has on all nodes. Its adapters are in `app.cluster.presence`."""

from collections.abc import Callable
from typing import Protocol

from app.gateway.overdue import EndOverdue


class Presence(Protocol):
    on_replaced: Callable[[str], None]
    """Called with a session of this node whose device has a newer one on another: it has to end."""

    end_overdue: EndOverdue
    """Called for a user at the session limit."""

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        """Count a session in. Raises SessionLimit, and Unavailable where that cannot be known.

        The session before it of the same user and `client_id` stops counting. If this node has it, its id is returned:
        the caller has to end it.
        """

    def leave(self, user: str, session_id: str) -> None:
        """Count a session out. Returns at once; a session that never joined is ignored."""
