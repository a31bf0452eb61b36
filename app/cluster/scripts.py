"""The Lua scripts of the cluster adapters, one file each in `lua/`."""

from pathlib import Path

from app.redis.scripts import Script


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
