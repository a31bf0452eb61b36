"""How many sessions a user has, wherever they are: the port. Its adapters live in `app.cluster`."""

from collections.abc import Callable
from typing import Protocol

from app.cluster.overdue import EndOverdue


class Presence(Protocol):
    on_replaced: Callable[[str], None]
    """Called with a session of this node whose device has a newer one on another: it has to end."""

    end_overdue: EndOverdue
    """Called for a user who has as many sessions as he may."""

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        """Counts a session in. Raises SessionLimit, and Unavailable where it cannot be known.

        The latest session of the same user and `client_id` is counted no more. If it is one of this node, the answer
        is its id: the caller has to end it.
        """

    def leave(self, user: str, session_id: str) -> None:
        """Instant; of a session that never joined it is no error."""
