"""Sites and nodes for the tests of SockJS."""

from collections.abc import AsyncIterator

import pytest

from tests.sockjs.nodes import Net, Node
from tests.sockjs.site import Site, open_site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


@pytest.fixture(params=["picows", "asgi"])
async def websocket_site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with open_site(request.param) as site:
        yield site


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def nodes(net: Net) -> tuple[Node, Node]:
    return Node(net, "a"), Node(net, "b")
