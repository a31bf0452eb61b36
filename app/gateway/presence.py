"""How many sessions a user has, wherever they are: the port. Its adapters live in `app.cluster`."""

from typing import Protocol


class Presence(Protocol):
    async def join(self, user: str, session_id: str, limit: int) -> None:
        """Counts a session in. Raises SessionLimit, and Unavailable where it cannot be known."""

    def leave(self, user: str, session_id: str) -> None:
        """Instant; of a session that never joined it is no error."""
