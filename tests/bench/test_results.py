"""Medians, aims and tables."""

import json

from bench.results import Row, Sample, Samples, ratio_at_least, ratio_at_most, row, take_turns, value_at_most
from bench.suite import PEERS, SCENARIOS
from bench.tables import as_markdown, as_text


def samples(*values: float, load_share: float | None = None) -> Samples:
    return Samples(rounds=[Sample(value=value, load_share=load_share) for value in values])


def test_parties_take_turns() -> None:
    order = []

    def measure(name: str, value: float) -> Sample:
        order.append(name)
        return Sample(value=value)

    taken = take_turns(2, ours=lambda: measure("ours", 1), theirs=lambda: measure("theirs", 2))

    assert order == ["ours", "theirs", "ours", "theirs"]
    assert taken["theirs"].median == 2


def test_aim_is_met_by_ratio_or_by_value() -> None:
    ours, theirs = samples(70, 80, 90), samples(100, 100, 1)

    def met(aim: object) -> bool | None:
        return row("s", "n", "u", ours, against=theirs, aim=aim).met  # type: ignore[arg-type]

    assert met(ratio_at_least(0.8))
    assert not met(ratio_at_least(0.81))
    assert not met(ratio_at_most(0.79))
    assert met(value_at_most(80))
    assert met(None) is None


def test_ratio_is_that_of_parties_of_one_round() -> None:
    """The machine was twice as fast in the first round."""
    assert row("s", "n", "u", samples(100, 50, 60), against=samples(200, 100, 60)).ratio == 0.5


def test_row_has_the_share_of_the_busiest_load_generator() -> None:
    busy = row("s", "n", "u", samples(1, load_share=0.2), against=samples(1, load_share=0.95))

    assert busy.load_share == 0.95
    assert "95% TOO BUSY" in as_text([busy])


def test_tables_have_a_line_for_each_row() -> None:
    missing = Row(scenario="s", name="peer", unit="u", note="it is not installed")
    done = row("s", "broadcast", "deliveries/s", samples(1234.5), against=samples(1000), reference_name="bare loop")
    lines = as_markdown([missing, done], {"cpu": "some"}).splitlines()

    assert any("| peer | it is not installed |" in line for line in lines)
    assert any("| broadcast | 1,234 deliveries/s | 1,000 (bare loop) | 1.23 |" in line for line in lines)
    assert json.loads(json.dumps([missing.as_json(), done.as_json()]))[1]["ratio"] == 1.2345


def test_every_scenario_says_what_it_is() -> None:
    assert [name for name, scenario in (SCENARIOS | PEERS).items() if not scenario.__doc__] == []
