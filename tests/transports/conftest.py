"""Fixtures of the tests of transports."""

from collections.abc import AsyncIterator

import pytest

from tests.transports.scene import Scene, open_scene


@pytest.fixture(params=["picows", "asgi"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with open_scene(request.param) as scene:
        yield scene
