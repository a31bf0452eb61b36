"""A queue whose next member is the oldest of the address with the most members."""

from typing import Generic, TypeVar

M = TypeVar("M")


class FairQueue(Generic[M]):
    """Members in order of arrival, grouped by address. Each operation takes constant time.

    A flood from one address displaces only members of that address while other addresses have fewer.
    """

    def __init__(self) -> None:
        self._keys: dict[M, str] = {}
        self._groups: dict[str, dict[M, None]] = {}
        self._by_size: list[dict[str, None]] = [{}]  # index n: the addresses with n members
        self._largest = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, member: object) -> bool:
        return member in self._keys

    def add(self, member: M, key: str) -> None:
        """Add a member, which must not be in the queue, as the youngest of its address."""
        self._keys[member] = key
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = {}
        size = len(group)
        group[member] = None
        if size:
            del self._by_size[size][key]
        if size == self._largest:
            self._largest += 1
            if len(self._by_size) == self._largest:
                self._by_size.append({})
        self._by_size[size + 1][key] = None

    def discard(self, member: M) -> bool:
        """Remove a member. Return False if it is not in the queue."""
        key = self._keys.pop(member, None)
        if key is None:
            return False
        group = self._groups[key]
        size = len(group)
        del group[member]
        del self._by_size[size][key]
        if size > 1:
            self._by_size[size - 1][key] = None
        else:
            del self._groups[key]
        if not self._by_size[self._largest]:
            self._largest -= 1  # the only largest address is one smaller now
        return True

    def pop(self) -> tuple[M, str] | None:
        """Remove and return the oldest member of the address that has the most, with that address."""
        if not self._keys:
            return None
        key = next(iter(self._by_size[self._largest]))
        member = next(iter(self._groups[key]))
        self.discard(member)
        return member, key
