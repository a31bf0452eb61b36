"""A Lua script. Each server loads it once and then runs it by its digest."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1


@dataclass(frozen=True)
class Script:
    source: str

    @cached_property
    def digest(self) -> str:
        """The SHA-1 that EVALSHA takes."""
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()
