"""Delivery on several nodes whose links stall and drop, beside a model of what every session is promised.

MAILBOX_EXAMPLES sets how many runs the healthy nodes have to pass; thousands take minutes (`--timeout=0`).
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.delivery.mailbox_machine import MailboxMachine
from tests.delivery.mailbox_mutants import MUTANTS
from tests.delivery.model_nodes import Broken

EXAMPLES = int(os.environ.get("MAILBOX_EXAMPLES", "120"))
EXAMPLES_OF_MUTANTS = 600  # at most: the first that breaks a promise is the last

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # a run takes too long to be made smaller by trial
    suppress_health_check=list(HealthCheck),
)


class ThreeNodes(MailboxMachine):
    size = 3


class NoSilentLoss(MailboxMachine):
    """Every loss is told, and nothing depends on the check of the head."""

    forgets = checks_heads = False


@pytest.mark.parametrize("machine", [MailboxMachine, ThreeNodes, NoSilentLoss])
def test_every_promise_is_kept(machine: type[MailboxMachine]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_model_notices(mutant: type[MailboxMachine]) -> None:
    with pytest.raises(Broken):
        run_state_machine_as_test(mutant, settings=settings(SETTINGS, max_examples=EXAMPLES_OF_MUTANTS))
