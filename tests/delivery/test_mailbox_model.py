"""Delivery on several nodes whose links stall and drop, beside a model of what every session is promised.

The runs are the same on every machine. MAILBOX_EXAMPLES sets how many the healthy nodes have to pass; thousands take
minutes (`--timeout=0`). MAILBOX_SEED chooses others.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.delivery.mailbox_machine import MailboxMachine
from tests.delivery.mailbox_mutants import MUTANTS
from tests.delivery.model_choices import run_with_seed
from tests.delivery.model_nodes import Broken

EXAMPLES = int(os.environ.get("MAILBOX_EXAMPLES", "40"))
SEED = int(os.environ.get("MAILBOX_SEED", "0"))
EXAMPLES_OF_MUTANTS = 600  # at most: the first that breaks a promise is the last

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
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
    run_with_seed(machine, SEED, SETTINGS)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_model_notices(mutant: type[MailboxMachine]) -> None:
    with pytest.raises(Broken):
        run_with_seed(mutant, SEED, settings(SETTINGS, max_examples=EXAMPLES_OF_MUTANTS))
