"""Fixtures of the tests of HTTP connections."""

import pytest

from tests.http.connections import Gate


@pytest.fixture
async def gate() -> Gate:
    return Gate()
