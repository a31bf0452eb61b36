"""Choices for the rules of a model that depend on the seed alone."""

from typing import Any

from hypothesis import Phase, seed, settings
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

BACKEND = "seed-alone"


class SeedAlone(HypothesisProvider):
    """Hypothesis's choices without the constants of modules that other tests of this process happen to have loaded."""

    def _maybe_draw_constant(self, *args: Any, **kwargs: Any) -> None:
        return None


AVAILABLE_PROVIDERS[BACKEND] = SeedAlone
