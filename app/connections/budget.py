"""Limit the unauthenticated connections of one kind, and choose which of them makes room."""

from typing import Protocol

from app.connections.queue import FairQueue
from app.connections.refusals import DISPLACED, Refusals

TRIES = 32  # connections that are tried before `displace` returns False


class Member(Protocol):
    """A connection that has not authenticated."""

    def displace(self) -> bool:
        """Close to make room. Return False if the connection is in use and stays."""


class Budget(FairQueue[Member]):
    """The unauthenticated connections. Beyond `limit`, the oldest of the address with the most makes room."""

    def __init__(self, limit: int, refusals: Refusals) -> None:
        super().__init__()
        self._limit = limit
        self._refusals = refusals

    def add(self, member: Member, key: str) -> None:
        """Add a connection of an address. Displace one if there are more than the limit."""
        FairQueue.add(self, member, key)
        if len(self._keys) > self._limit:
            self.displace()

    def displace(self) -> bool:
        """Close one connection to make room. Return False if all that were tried are in use."""
        for _ in range(min(TRIES, len(self))):
            popped = self.pop()
            assert popped is not None, "the loop runs at most once per member"
            member, key = popped
            if member.displace():
                self._refusals.count(DISPLACED, key)
                return True
            FairQueue.add(self, member, key)
        return False
