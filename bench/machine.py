"""The machine that a measurement runs on: its cores, and what processes take of it."""

import os
import platform
import resource
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
PACKAGES = ("fastapi", "picows", "uvicorn", "uvloop")


def pin(pid: int, core: int) -> None:
    """All of its threads, and what they start from now on. On a machine without that core nothing happens."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            os.sched_setaffinity(int(task.name), {core})


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, all of its threads together; the clock ticks every 10 ms."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree_cpu_s(pid: int) -> float:
    """As `cpu_s`, with all that it started: those that are there, and those that it has waited for."""
    ticks = 0
    for member in _tree(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, _stat(member)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> Iterable[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _stat(pid: int) -> list[str]:
    """The fields from the third on: the second is a name and may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def rss_kb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def environment() -> dict[str, str | int | float]:
    """What numbers mean nothing without."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
