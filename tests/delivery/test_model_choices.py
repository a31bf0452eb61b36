"""Whether the runs of the models are the same wherever they run."""

import importlib.util
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.delivery.model_choices import run_with_seed

OPTIONS = settings(
    max_examples=30, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


class Drawing(RuleBasedStateMachine):
    drawn: ClassVar[list[int]] = []

    @rule(number=st.integers(0, 10**6))
    def draw(self, number: int) -> None:
        self.drawn.append(number)


def draw_all(seed: int) -> list[int]:
    Drawing.drawn.clear()
    run_with_seed(Drawing, seed, OPTIONS)
    return Drawing.drawn.copy()


@pytest.fixture
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of the project, as Hypothesis sees it: not among the tests."""
    path = tmp_path_factory.mktemp("loaded") / "constants.py"
    path.write_text("".join(f"NUMBER_{number} = {number}\n" for number in range(123_000, 123_400)))
    return path


def test_the_choices_do_not_depend_on_the_modules_that_are_loaded(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = draw_all(1)
    specification = importlib.util.spec_from_file_location("loaded_constants", module)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "loaded_constants", loaded)
    specification.loader.exec_module(loaded)
    assert draw_all(1) == before


def test_another_seed_makes_other_choices() -> None:
    assert draw_all(1) == draw_all(1)
    assert draw_all(1) != draw_all(2)
