from collections.abc import AsyncIterator, Iterator

import pytest

from app.db.database import Database
from tests.databases import KINDS, Kind, empty_database, migrated_database


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    given: Kind = request.param
    return given


@pytest.fixture
def empty_url(kind: Kind) -> Iterator[str]:
    with empty_database(kind) as url:
        yield url


@pytest.fixture
async def database(kind: Kind) -> AsyncIterator[Database]:
    with migrated_database(kind) as url:
        database = Database(url)
        yield database
        await database.aclose()
