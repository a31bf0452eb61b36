"""How many connections of one kind may be unauthenticated at a time, and which of them has to make room."""

from typing import Protocol

from app.connections.queue import FairQueue
from app.connections.refusals import DISPLACED, Refusals

TRIES = 32  # members that are asked to make room before the answer is that none can


class Member(Protocol):
    """A connection that has not authenticated."""

    def displace(self) -> bool:
        """End to make room; False if it is in use, and stays."""


class Budget(FairQueue[Member]):
    """If a member is one too many, the oldest of the address with the most makes room."""

    def __init__(self, limit: int, refusals: Refusals) -> None:
        super().__init__()
        self._limit = limit
        self._refusals = refusals

    def add(self, member: Member, key: str) -> None:
        FairQueue.add(self, member, key)
        if len(self._keys) > self._limit:
            self.displace()

    def displace(self) -> bool:
        """Let one member make room; False if there is none that is not in use."""
        for _ in range(min(TRIES, len(self))):
            popped = self.pop()
            assert popped is not None, "there are as many"
            member, key = popped
            if member.displace():
                self._refusals.count(DISPLACED, key)
                return True
            FairQueue.add(self, member, key)
        return False
