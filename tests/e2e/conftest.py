"""One server process a test module; the module says in SETTINGS what is not as by default."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.backend import Backend, open_backend
from tests.service import Server, running_server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running_server(**getattr(request.module, "SETTINGS", {})) as server:
        yield server


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[Backend]:
    async with open_backend(server) as backend:
        yield backend
