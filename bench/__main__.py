"""The benchmarks: `python -m bench` runs all, `python -m bench storm idle` some, `--list` says which there are.

Everything that is started listens on the loopback, and ends with it. A full run writes the results beside this file.
"""

import argparse
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.machine import LOAD_CORE, environment, pin, raise_file_limit
from bench.results import Row
from bench.scale import FULL, QUICK, Scale
from bench.suite import PEERS, SCENARIOS
from bench.tables import as_markdown, as_text

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = parse_arguments()
    if arguments.list:
        for name, scenario in (SCENARIOS | PEERS).items():
            say(f"{name:20} {(inspect.getdoc(scenario) or '').partition(chr(10))[0]}")
        return
    names = arguments.names or [*SCENARIOS, *(PEERS if arguments.peers else ())]
    pin(os.getpid(), LOAD_CORE)  # and what is started here and not pinned elsewhere
    raise_file_limit()
    before = environment()
    rows = run(names, QUICK if arguments.quick else FULL)
    if len(names) > 1:
        say(as_text(rows))
    if not arguments.names and not arguments.quick:
        write_results(rows, before)
    if any(row.has_failed for row in rows):
        sys.exit("not everything could be measured")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    # The empty list is what argparse compares with the choices if no name is given.
    parser.add_argument("names", nargs="*", choices=[[], *SCENARIOS, *PEERS], metavar="NAME", help="default: all")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--peers", action="store_true", help="and other servers, where they are installed")
    parser.add_argument("--quick", action="store_true", help="a look that says little; writes no results")
    return parser.parse_args()


def run(names: Sequence[str], scale: Scale) -> list[Row]:
    """Says what comes as it comes."""
    rows: list[Row] = []
    for name in names:
        start_s = time.monotonic()
        found = measured(name, scale)
        say(f"{name}, {time.monotonic() - start_s:.0f} s")
        say(as_text(found))
        rows += found
    return rows


def measured(name: str, scale: Scale) -> list[Row]:
    """What cannot be measured is a row too: the other scenarios go on."""
    rows: list[Row] = []
    try:
        rows += (SCENARIOS | PEERS)[name](scale)
    except Exception as error:
        traceback.print_exc()
        reason = str(error).strip().rpartition("\n")[2]
        rows.append(Row(scenario=name, name=name, unit="", note=f"failed: {reason}", has_failed=True))
    return rows


def write_results(rows: Sequence[Row], before: dict[str, str | int | float]) -> None:
    from bench.plot import write_plot  # matplotlib is there where results are made

    results = {"environment": before, "rows": [row.as_json() for row in rows]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    (RESULTS / "latest.md").write_text(as_markdown(rows, before))
    write_plot(rows, RESULTS / "latest.png")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
