"""Fault injection: `python -m tests.chaos` runs every scenario, `python -m tests.chaos valkey-restart --seed 1` one.

The exit status is 1 if a promise was broken. A run of everything writes docs/chaos.md.
"""

import argparse
import asyncio
import signal
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.chaos.dump import dump
from tests.chaos.report import DOCUMENT, as_text, broken, details, write
from tests.chaos.runner import FULL, SHORT, UNBROKEN, Run, run
from tests.chaos.scenarios import BREAKS, SCENARIOS


def main() -> None:
    arguments = parse_arguments()
    if arguments.list:
        for scenario in SCENARIOS.values():
            say(f"{scenario.name:24} {scenario.what}")
        for name, item in BREAKS.items():
            say(f"--break {name:16} {item.what}")
        return
    runs: list[Run] = []
    failures: dict[str, str] = {}
    for name in arguments.names or SCENARIOS:
        try:
            runs.append(measured(name, arguments))
        except Exception as error:
            traceback.print_exc()
            failures[name] = str(error).strip().partition("\n")[0]
    say("\n" + as_text(runs) + "".join(f"\n{name} could not be run: {reason}" for name, reason in failures.items()))
    if (not arguments.names and not arguments.broken) or arguments.report:
        write(runs, failures, arguments.seed, arguments.report or DOCUMENT)
    if failures or any(broken(item) for item in runs):
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SCENARIOS], metavar="NAME", help="default: all")
    parser.add_argument("--list", action="store_true", help="print the scenarios")
    parser.add_argument("--seed", type=int, default=1, help="of what is pushed and how clients behave")
    parser.add_argument("--short", action="store_true", help="less load and less time, as in CI")
    parser.add_argument("--break", dest="broken", choices=[*BREAKS], help="break something on purpose")
    parser.add_argument("--report", type=Path, help="where to write the table of a run")
    parser.add_argument("--examples", type=int, default=4, help="lines to print for each column that is not 0")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of the processes, and the journal")
    return parser.parse_args()


def measured(name: str, arguments: argparse.Namespace) -> Run:
    pace = SHORT if arguments.short else FULL
    item = BREAKS.get(arguments.broken, UNBROKEN)
    result = asyncio.run(until_sigterm(run(SCENARIOS[name], arguments.seed, pace, item, arguments.keep)))
    verdict = ", ".join(f"{column} {len(lines)}" for column, lines in broken(result).items()) or "all promises kept"
    say(f"{name}, {result.seconds:.0f} s, {result.account.accepted} accepted: {verdict}")
    say(details(result, arguments.examples))
    if arguments.keep:
        dump(result.journal, result.directory / "journal.jsonl")
        say(f"  logs and journal.jsonl in {result.directory}")
    return result


async def until_sigterm(work: Coroutine[Any, Any, Run]) -> Run:
    """Cancel the work at SIGTERM, so that it ends what it started; SystemExit follows."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        sys.exit(1)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
