"""That a million messages of one user change nothing: what PostgreSQL plans for the statements of the service."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import Database
from app.notifications.repository import Cursor, NotifyRepository, PushMark
from tests.databases import migrated_database, postgres

ROWS = 1_000_000


@pytest.fixture(scope="module")
def million_url() -> Iterator[str]:
    """A million messages of ann, of which a third is unread and every thousandth not acknowledged; some of others.

    The indexes are made again at the end as the migrations made them, which is faster.
    """
    with migrated_database("postgresql") as url:
        name = url.rpartition("/")[2]
        indexes = postgres().query(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'notify_log' AND indexname LIKE 'ix_%'", name
        )
        postgres().query(
            f"""
            ALTER TABLE notify_log SET (autovacuum_enabled = false);
            ALTER TABLE notify_log SET UNLOGGED;
            SET maintenance_work_mem = '256MB';
            DROP INDEX {", ".join(index for index, _ in indexes)};
            INSERT INTO notify_log
                (id, type, receiver, data, viewed, created, last_modified, version, pushed_at, delivered_at)
            SELECT 'ntf_' || lpad(n::text, 8, '0'), 'STRING_MSG', CASE WHEN n % 50 = 0 THEN 'user' || n ELSE 'ann' END,
                '"hello"', n % 3 <> 0, 1700000000000 + n / 3, 1700000000000, 0, 1,
                CASE WHEN n % 1000 = 1 THEN NULL ELSE 1 END
            FROM generate_series(1, {ROWS * 50 // 49}) AS n;
            {";".join(definition for _, definition in indexes)};
            INSERT INTO unread_count
            SELECT receiver, count(*) FROM notify_log WHERE NOT viewed GROUP BY receiver;
            ANALYZE;
            """,
            name,
        )
        yield url


class Explained:
    """The plans of what a repository does, in JSON."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.plans: list[dict[str, Any]] = []

    async def explain(self, statement: str, parameters: Any) -> None:
        async with self.database.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            transaction = driver.transaction()
            await transaction.start()
            found = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *parameters)
            await transaction.rollback()
        self.plans.append(found[0])

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [plan["Plan"] for plan in self.plans]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.get("Plans", ()))


@pytest.fixture
async def explained(million_url: str) -> AsyncIterator[Explained]:
    database = Database(million_url)
    yield Explained(database)
    await database.aclose()


DEEP = Cursor(1700000000000 + ROWS // 6, "ntf_00500000")
RECENT_IDS = [f"ntf_{ROWS - number:08}" for number in range(1, 101)]
STATEMENTS = {
    "history": lambda repository: repository.history("ann", before=None, offset=0, limit=101),
    "history at depth": lambda repository: repository.history("ann", before=DEEP, offset=0, limit=101),
    "history before a time": lambda repository: repository.history("ann", before=DEEP.created, offset=0, limit=101),
    "unread count": lambda repository: repository.unread_count("ann"),
    "undelivered": lambda repository: repository.undelivered("ann", since_ms=1700000000000, limit=300),
    "how many are undelivered": lambda repository: repository.count_undelivered("ann", since_ms=1700000000000),
    "unpushed": lambda repository: repository.lock_unpushed(before_ms=1800000000000, after_ms=1900000000000, limit=200),
    "view": lambda repository: repository.mark_viewed("ann", RECENT_IDS, 1),
    "delete": lambda repository: repository.delete("ann", RECENT_IDS),
    "mark pushed": lambda repository: repository.mark_pushed(
        [PushMark(id, n, True) for n, id in enumerate(RECENT_IDS)], 1
    ),
    "mark delivered": lambda repository: repository.mark_delivered([("ann", id) for id in RECENT_IDS], 1),
    "retention": lambda repository: repository.delete_older(1700000000000 + ROWS // 3, 1_000),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_million_messages_are_found_by_an_index(explained: Explained, name: str) -> None:
    executed: list[tuple[str, Any]] = []

    @event.listens_for(explained.database.engine.sync_engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        executed.append((statement, parameters))

    async with explained.database.engine.connect() as connection, AsyncSession(connection) as session:
        await STATEMENTS[name](NotifyRepository(session))
        await session.rollback()
    event.remove(explained.database.engine.sync_engine, "before_cursor_execute", note)
    for statement, parameters in executed:
        await explained.explain(statement, parameters[0] if isinstance(parameters, list) else parameters)
    kinds = {node["Node Type"] for node in explained.nodes() if node.get("Relation Name") != "unread_count"}
    assert explained.plans
    assert "Seq Scan" not in kinds, explained.plans
    for node in explained.nodes():
        assert node["Actual Rows"] * node["Actual Loops"] <= 1_100, node  # a limit, a slice, or the ids that were given
    print(name, [round(plan["Execution Time"], 2) for plan in explained.plans], "ms")  # noqa: T201
