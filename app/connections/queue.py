"""Who has to make room: the address that holds the most places, and of its members the oldest."""

from collections import OrderedDict
from typing import Generic, TypeVar

M = TypeVar("M")


class FairQueue(Generic[M]):
    """Members in the order of their arrival, grouped by address. Every operation takes constant time.

    A flood from one address displaces only members of that address while others hold fewer places.
    """

    def __init__(self) -> None:
        self._keys: dict[M, str] = {}
        self._groups: dict[str, OrderedDict[M, None]] = {}
        self._by_size: dict[int, OrderedDict[str, None]] = {}  # groups by the number of their members; none is empty
        self._largest = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, member: object) -> bool:
        return member in self._keys

    def add(self, member: M, key: str) -> None:
        """Add a member that is not in the queue, as the youngest of its address."""
        self._keys[member] = key
        group = self._groups.setdefault(key, OrderedDict())
        group[member] = None
        self._resize(key, len(group) - 1, len(group))

    def discard(self, member: M) -> bool:
        """Remove a member; False if it is not in the queue."""
        key = self._keys.pop(member, None)
        if key is None:
            return False
        group = self._groups[key]
        del group[member]
        if not group:
            del self._groups[key]
        self._resize(key, len(group) + 1, len(group))
        return True

    def pop(self) -> tuple[M, str] | None:
        """Remove and return the oldest member of the address that has the most, with that address."""
        if not self._keys:
            return None
        key = next(iter(self._by_size[self._largest]))
        member = next(iter(self._groups[key]))
        self.discard(member)
        return member, key

    def _resize(self, key: str, old: int, new: int) -> None:
        if old:
            self._by_size[old].pop(key)
            if not self._by_size[old]:
                del self._by_size[old]
        if new:
            self._by_size.setdefault(new, OrderedDict())[key] = None
        if new > self._largest or self._largest not in self._by_size:
            self._largest = new  # sizes change by one: if the only largest group shrank, it is still the largest
