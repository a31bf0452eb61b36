"""How what is meant for everybody reaches the other nodes: the port. Its adapters live in `app.cluster`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from app.hub.prepared import Publication


class Relay(Protocol):
    async def publish(self, publication: Publication) -> None:
        """To every other node, at most once. Raises Unavailable."""

    def listen(self, receive: Callable[[Publication], Awaitable[object]]) -> None:
        """`receive` is called with what other nodes publish, in the order of each publisher."""
