"""The Lua scripts, each a file beside this one. A server gets each once and is then told its digest alone."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from pathlib import Path


@dataclass(frozen=True)
class Script:
    source: str

    @cached_property
    def digest(self) -> str:
        """What EVALSHA knows it by."""
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def _read(name: str) -> Script:
    return Script(Path(__file__).with_name("lua").joinpath(f"{name}.lua").read_text())


PUT = _read("put")
READ = _read("read")
CATCH_UP = _read("catch_up")
ACKNOWLEDGE = _read("acknowledge")
JOIN = _read("join")
REFRESH = _read("refresh")
BEAT = _read("beat")
BURY = _read("bury")
CLEAN_LEDGER = _read("clean_ledger")
CLAIM = _read("claim")
DISOWN = _read("disown")
BROADCAST = _read("broadcast")
ALL = (PUT, READ, CATCH_UP, ACKNOWLEDGE, JOIN, REFRESH, BEAT, BURY, CLEAN_LEDGER, CLAIM, DISOWN, BROADCAST)
