"""The picture of a run: how near each row came to its aim, and the rates of deliveries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import Row

MET, MISSED, NEUTRAL = "#2a7f62", "#c0504d", "#4f6d8f"
MOST = 3.0  # times the aim: bars end there
RATE = "deliveries/s"
LABEL: dict[str, Any] = {"fontsize": 8, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5}, "padding": 3}


def write_plot(rows: Sequence[Row], path: Path) -> None:
    mpl.use("Agg")
    aimed = [row for row in rows if row.met is not None]
    rates = rates_of(rows)
    figure = Figure(figsize=(13, 2 + 0.36 * (len(aimed) + len(rates))), layout="constrained")
    heights = [max(len(aimed), 1), max(len(rates), 1)]
    attainment, deliveries = figure.subplots(2, 1, height_ratios=heights)
    draw_attainment(attainment, aimed)
    draw_rates(deliveries, rates)
    figure.savefig(path, dpi=110)


def draw_attainment(axes: Axes, rows: Sequence[Row]) -> None:
    values = [min(attainment(row), MOST) for row in rows]
    bars = axes.barh([label(row) for row in rows], values, color=[MET if row.met else MISSED for row in rows])
    axes.bar_label(bars, labels=[f"{result(row)}, aim {row.aim}" for row in rows], **LABEL)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlim(0, MOST * 1.2)
    axes.set_title("How far the aim is met: 1 is the aim, more is better", loc="left", fontsize=10)
    finish(axes)


def draw_rates(axes: Axes, rates: Sequence[tuple[str, float]]) -> None:
    bars = axes.barh([name for name, _ in rates], [value for _, value in rates], color=NEUTRAL)
    axes.bar_label(bars, labels=[f"{value:,.0f}" for _, value in rates], **LABEL)
    axes.margins(x=0.12)
    axes.set_title("Deliveries a second, one core for the server", loc="left", fontsize=10)
    finish(axes)


def finish(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def attainment(row: Row) -> float:
    """More than 1: better than the aim."""
    assert row.aim is not None, "only rows with an aim are drawn"
    number = row.ratio if row.aim.of == "ratio" else row.value
    assert number is not None, "and with a value"
    if row.aim.at_least:
        return number / row.aim.bound
    return row.aim.bound / number if number else MOST


def result(row: Row) -> str:
    if row.aim is not None and row.aim.of == "ratio":
        return f"ratio {row.ratio:.2f}"
    return f"{row.value:.3g} {row.unit}"


def label(row: Row) -> str:
    return f"{row.name}\nagainst {row.reference_name}" if row.reference_name else row.name


def rates_of(rows: Sequence[Row]) -> Sequence[tuple[str, float]]:
    """Each measured party once, references included."""
    found: dict[str, float] = {}
    for row in rows:
        if not row.unit.endswith(RATE):
            continue
        if row.reference is not None:
            found.setdefault(f"{row.reference_name}: {row.name}", row.reference)
        if row.value is not None:
            found.setdefault(row.name, row.value)
    return sorted(found.items(), key=lambda item: -item[1])
