from collections.abc import AsyncIterator, Iterator

import pytest

from tests.databases import KINDS, Kind, migrated_database
from tests.notifications.node import Node, running_node


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    given: Kind = request.param
    return given


@pytest.fixture
def url(kind: Kind) -> Iterator[str]:
    with migrated_database(kind) as url:
        yield url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with migrated_database("postgresql") as url:
        yield url


@pytest.fixture
async def node(url: str) -> AsyncIterator[Node]:
    async with running_node(url) as node:
        yield node
