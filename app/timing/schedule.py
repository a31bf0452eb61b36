"""Keys with due times. Finding the due ones costs nothing for the others."""

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


SPARE = 64  # slots that may lie about empty before it is worth while to clear them away


class Schedule(Generic[K]):
    """Keys in slots of `resolution` time units: add and discard cost the same however many there are.

    A key is due never early and at most one resolution late. Within a slot the order of adding holds.
    """

    def __init__(self, resolution: float) -> None:
        self._resolution = resolution
        self._slots: dict[int, dict[K, None]] = {}
        self._order: list[int] = []  # a heap; of slots that are gone too, and some twice

    def __len__(self) -> int:
        """Return the number of slots, which take memory beside the keys."""
        return len(self._order)

    def add(self, key: K, at: float) -> int:
        """Add a key. Return its slot, for `discard`."""
        slot = math.ceil(at / self._resolution)
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        keys[key] = None
        return slot

    def discard(self, key: K, slot: int) -> None:
        keys = self._slots.get(slot)
        if keys is None:
            return
        keys.pop(key, None)
        if not keys:
            del self._slots[slot]
            if len(self._order) > 2 * len(self._slots) + SPARE:
                self._order = list(self._slots)
                heapq.heapify(self._order)

    def pop_due(self, now: float) -> list[K]:
        due: list[K] = []
        while self._order and self._order[0] * self._resolution <= now:
            due.extend(self._slots.pop(heapq.heappop(self._order), ()))
        return due
