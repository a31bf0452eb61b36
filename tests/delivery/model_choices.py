"""Choices of Hypothesis that depend on a seed alone."""

from typing import Any

from hypothesis import seed, settings
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

BACKEND = "seed-alone"


class SeedAlone(HypothesisProvider):
    """The choices of Hypothesis without constants from the project's modules.

    Hypothesis prefers constants that it finds in loaded modules, and the other tests of a process decide which are
    loaded.
    """

    def _maybe_draw_constant(self, *args: Any, **kwargs: Any) -> None:
        return None


AVAILABLE_PROVIDERS[BACKEND] = SeedAlone


def run_with_seed(machine: type[RuleBasedStateMachine], number: int, options: settings) -> None:
    """Run a state machine: the same runs in every process, whatever the source of the machine is."""
    seeded = seed(number)(type(machine.__name__, (machine,), {}))
    run_state_machine_as_test(seeded, settings=settings(options, backend=BACKEND))
