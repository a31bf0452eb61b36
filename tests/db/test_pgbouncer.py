"""Behind a real PgBouncer in transaction mode, where each transaction may be on another connection to the server."""

import asyncio
from collections.abc import Iterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.db.database import Database
from app.db.migrations import alembic_config, migrate, migrate_url
from app.errors import Unavailable
from tests.databases import empty_database, migrated_database, postgres
from tests.pgbouncer import PgBouncer, running_pgbouncer

TASKS, ROUNDS = 20, 10


@pytest.fixture(scope="module")
def pgbouncer() -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres()) as pgbouncer:
        yield pgbouncer


async def work(database: Database, number: int) -> None:
    """Statements that differ from task to task, so that a name or an unnamed statement can be taken for another's."""
    for turn in range(ROUNDS):
        async with database.transaction() as session:
            await session.execute(
                text("INSERT INTO idempotency_key (key, fingerprint, created) VALUES (:key, 'f', :number)"),
                [{"key": f"{number}-{turn}-{part}", "number": number} for part in range(2)],
            )
            found = await session.execute(
                text(f"SELECT {number}, count(*) FROM idempotency_key WHERE created = :number"), {"number": number}
            )
        assert found.one() == (number, 2 * (turn + 1))
        async with database.read() as session:
            found = await session.execute(text(f"SELECT {number}, :turn + {turn}"), {"turn": turn})
        assert found.one() == (number, 2 * turn)


async def test_with_pgbouncer_true_no_statement_fails_or_is_taken_for_another(pgbouncer: PgBouncer) -> None:
    with migrated_database("postgresql") as url:
        database = Database(pgbouncer.url(url.rpartition("/")[2], pgbouncer="true"))
        await asyncio.gather(*(work(database, number) for number in range(TASKS)))
        await database.aclose()


async def test_a_statement_that_is_repeated_is_not_taken_for_that_of_another_client(pgbouncer: PgBouncer) -> None:
    async def repeat(database: Database, number: int) -> None:
        for _ in range(10 * ROUNDS):
            async with database.read() as session:
                assert (await session.execute(text(f"SELECT {number}"))).scalar() == number
        await database.aclose()

    clients = [Database(pgbouncer.url("postgres", pgbouncer="true")) for _ in range(6)]
    await asyncio.gather(*(repeat(database, number) for number, database in enumerate(clients)))


async def test_without_it_the_log_says_what_to_write(pgbouncer: PgBouncer, caplog: pytest.LogCaptureFixture) -> None:
    with migrated_database("postgresql") as url:
        database = Database(pgbouncer.url(url.rpartition("/")[2]))
        results = await asyncio.gather(*(work(database, number) for number in range(TASKS)), return_exceptions=True)
        await database.aclose()
    assert any(isinstance(result, Unavailable) for result in results)
    assert "pgbouncer=true" in caplog.text


async def test_nodes_that_start_together_migrate_through_it_once(pgbouncer: PgBouncer) -> None:
    with empty_database("postgresql") as url:
        name = url.rpartition("/")[2]
        await asyncio.gather(*(migrate_url(pgbouncer.url(name, pgbouncer="true")) for _ in range(6)))
        head = ScriptDirectory.from_config(alembic_config()).get_current_head()
        assert postgres().query("SELECT version_num FROM alembic_version", name) == [[head]]
        database = Database(pgbouncer.url(name, pgbouncer="true"))
        await migrate(database, "base")
        await database.aclose()


async def test_connections_that_pgbouncer_dropped_are_replaced_without_a_failure() -> None:
    with running_pgbouncer(postgres()) as pgbouncer, migrated_database("postgresql") as url:
        database = Database(pgbouncer.url(url.rpartition("/")[2], pgbouncer="true"))
        await work(database, 1)
        pgbouncer.stop()
        with pytest.raises(Unavailable):
            await work(database, 2)
        pgbouncer.start()
        await work(database, 3)
        await database.aclose()
