"""A Lua script, which a server gets once and then runs by its digest."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1


@dataclass(frozen=True)
class Script:
    source: str

    @cached_property
    def digest(self) -> str:
        """What EVALSHA knows it by."""
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()
