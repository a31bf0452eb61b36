"""Rows as a table: on the terminal, and in Markdown."""

from collections.abc import Sequence

from bench.results import Row

HEADER = ("scenario", "value", "reference", "ratio", "aim", "met", "load CPU", "also")


def cells(row: Row) -> tuple[str, ...]:
    if row.value is None:
        return (row.name, row.note, *("",) * 6)
    reference = f"{number(row.reference)} ({row.reference_name})" if row.reference is not None else ""
    also = [f"{name} {number(value)}" for name, value in row.details.items() if name != "count"]
    return (
        row.name,
        f"{number(row.value)} {row.unit}",
        reference,
        f"{row.ratio:.2f}" if row.ratio is not None else "",
        str(row.aim) if row.aim else "",
        {True: "yes", False: "no", None: ""}[row.met],
        load_share(row),
        ", ".join([*also, *filter(None, [row.note])]),
    )


def load_share(row: Row) -> str:
    if row.load_share is None:
        return ""
    return f"{row.load_share:.0%}" + (" TOO BUSY" if row.load_was_busy else "")


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def as_text(rows: Sequence[Row]) -> str:
    table = [HEADER, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join(lines) + "\n"


def as_markdown(rows: Sequence[Row], environment: dict[str, str | int | float]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in [HEADER, *map(cells, rows)]]
    lines.insert(1, "|" + "---|" * len(HEADER))
    machine = ", ".join(f"{name} {value}" for name, value in environment.items())
    return "\n".join(
        [
            "# The latest run",
            "",
            f"{machine}.",
            "",
            "The server has one core, the load generator another; `load CPU` is the latter's own share of its core, in",
            "its busiest round. Values are medians of rounds in which the parties took turns, ratios medians of those",
            "within the rounds. Ratios of one run mean something on other machines too, the numbers do not.",
            "",
            *lines,
            "",
        ]
    )
