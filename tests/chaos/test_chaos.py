"""A selection of the scenarios, with less load than `make chaos`, and the proof that they can fail."""

from dataclasses import replace

import pytest

from tests.chaos.report import broken, details
from tests.chaos.runner import SHORT, run
from tests.chaos.scenarios import BREAKS, SCENARIOS

SEED = 1
SELECTION = ["control", "node-kill", "valkey-restart", "link-cut", "postgres-restart"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SELECTION)
async def test_every_promise_is_kept_under(name: str) -> None:
    result = await run(SCENARIOS[name], SEED, SHORT)
    assert result.account.accepted > 100
    assert not broken(result), details(result)


@pytest.mark.timeout(300)
async def test_what_is_not_resent_is_seen_as_missed() -> None:
    pace = replace(SHORT, quiet_s=5)  # what is missed never comes
    result = await run(SCENARIOS["control"], SEED, pace, BREAKS["retries"])
    assert result.account.missed, details(result)
