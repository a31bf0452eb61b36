"""Fixtures of the tests of STOMP."""

import pytest

from tests.gateway.conversation import Stage
from tests.stomp.stage import Notes


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def stage(notes: Notes) -> Stage:
    return Stage(routes=notes)
