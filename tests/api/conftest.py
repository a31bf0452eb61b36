from collections.abc import AsyncIterator

import pytest

from tests.api.service import SECRET, Service, service


@pytest.fixture
async def dev() -> AsyncIterator[Service]:
    async with service() as running:
        yield running


@pytest.fixture
async def site() -> AsyncIterator[Service]:
    """It knows the key of `bearer` tokens, in dev."""
    async with service(jwt_secret=SECRET, inbound_burst=10_000) as running:
        yield running
