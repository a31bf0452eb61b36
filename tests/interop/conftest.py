"""One server process a test module; the module says in SETTINGS what is not as by default."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.backend import Backend, open_backend
from tests.interop.console import Console, open_console, running_browser
from tests.service import Server, running_server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running_server(**getattr(request.module, "SETTINGS", {})) as server:
        yield server


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[Backend]:
    async with open_backend(server) as backend:
        yield backend


@pytest.fixture(scope="module")  # and no longer: playwright keeps an event loop running, which asyncio tests refuse
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def console(browser: Browser, server: Server) -> Iterator[Console]:
    with open_console(browser, server) as console:
        yield console
