from collections.abc import AsyncIterator

import pytest

from tests.api.service import Service, service


@pytest.fixture
async def dev() -> AsyncIterator[Service]:
    async with service() as running:
        yield running
