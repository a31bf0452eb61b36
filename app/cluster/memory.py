"""Nodes in one process: what a single node runs on, and what tests of several nodes share."""

from collections.abc import Awaitable, Callable

from app.hub.prepared import Publication


class MemoryBus:
    """Connects the relays that are made from it."""

    def __init__(self) -> None:
        self.relays: list[MemoryRelay] = []

    def relay(self) -> "MemoryRelay":
        relay = MemoryRelay(self)
        self.relays.append(relay)
        return relay


class MemoryRelay:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._receive: Callable[[Publication], Awaitable[object]] | None = None

    def listen(self, receive: Callable[[Publication], Awaitable[object]]) -> None:
        self._receive = receive

    async def publish(self, publication: Publication) -> None:
        for relay in self._bus.relays:
            if relay is not self and relay._receive is not None:
                await relay._receive(publication)
