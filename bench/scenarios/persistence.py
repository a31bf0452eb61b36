"""What storing and reading costs, on real databases that write to the disk.

Saves that share commits are measured beside saves that commit alone, in turns.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from app.db.database import POOL_SIZE, Database
from app.notifications.repository import Cursor, NotifyRepository
from app.notifications.tables import NotifyLog
from app.runtime.runtime import Runtime, open_runtime
from app.settings import Settings
from bench.results import Row, Sample, Samples, row
from bench.scale import Scale
from tests.postgres import Postgres, running_postgres

SAVERS = 500
READS = 100
PAGE = 20
DEEP = 0.9  # of the rows are above the page at depth

Save = Callable[[NotifyLog], Awaitable[object]]


def persistence(scale: Scale) -> Iterator[Row]:
    """Saves that share commits against saves that do not, and what is read of a user with very many messages."""
    with tempfile.TemporaryDirectory() as directory, running_postgres(fsync="on") as postgres:
        sqlite_url = f"sqlite+aiosqlite:///{Path(directory, 'bench.db')}"
        yield from asyncio.run(compare_commits(scale, sqlite_url, 1))  # its writers exclude each other
        yield from asyncio.run(compare_commits(scale, postgres.url(postgres.create_database()), 1, POOL_SIZE))
        yield from asyncio.run(read_many(postgres, scale.rows))


async def compare_commits(scale: Scale, url: str, *writers: int) -> Sequence[Row]:
    """Rows a second of savers that share commits, against so many writers that commit alone."""
    settings = Settings(_env_file=None, app_env="dev", database_url=url, auto_migrate=True)
    database = Database(url)

    async def save_alone(row: NotifyLog) -> None:
        async with database.transaction() as session:
            await NotifyRepository(session).insert([row])

    alone: dict[int, list[Sample]] = {number: [] for number in writers}
    together = []
    try:
        async with open_runtime(settings) as runtime:
            for _ in range(scale.few_rounds):
                for number in writers:
                    alone[number].append(await save(save_alone, number, scale.seconds))
                together.append(await save(runtime.notify.inserts.submit, SAVERS, scale.seconds))
    finally:
        await database.aclose()
    backend = database.url.get_backend_name()
    return [
        row(
            "persistence", f"{backend}: {SAVERS} savers share commits", "rows/s", Samples(rounds=together),
            against=Samples(rounds=samples), reference_name=f"{number} at a time, a commit each",
        )
        for number, samples in alone.items()
    ]  # fmt: skip


async def save(save_row: Save, savers: int, seconds: float) -> Sample:
    """`savers` at once, each going on with the next row as soon as its last is committed."""
    start_s = time.perf_counter()
    end_s = start_s + seconds

    async def go_on() -> int:
        saved = 0
        while time.perf_counter() < end_s:
            await save_row(_row())
            saved += 1
        return saved

    saved = sum(await asyncio.gather(*(go_on() for _ in range(savers))))
    return Sample(value=saved / (time.perf_counter() - start_s))


_numbers = count()


def _row() -> NotifyLog:
    number, now_ms = next(_numbers), int(time.time() * 1000)
    return NotifyLog(
        id=f"ntf_bench_{number}",
        type="STRING_MSG",
        receiver=f"user-{number % 1000}",
        data={"order": number, "state": "shipped", "text": "x" * 200},
        created=now_ms,
        last_modified=now_ms,
        pushed_at=now_ms,
    )


async def read_many(postgres: Postgres, rows: int) -> Sequence[Row]:
    """Of one user who has very many."""
    database = postgres.create_database()
    settings = Settings(_env_file=None, app_env="dev", database_url=postgres.url(database), auto_migrate=True)
    async with open_runtime(settings) as runtime:
        await asyncio.to_thread(fill, postgres, database, rows)
        return [
            row("persistence", f"PostgreSQL, {rows:,} messages of a user: {name}", "ms", await timed(read))
            for name, read in reads(runtime, rows)
        ]


def reads(runtime: Runtime, rows: int) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
    archive, history, behind = runtime.archive, runtime.history, round(rows * DEEP)
    deep = Cursor(rows - behind, _id(rows - behind))
    return (
        ("history, first page", lambda: history.page("reader", before=None, offset=0, limit=PAGE)),
        (f"history, page behind {behind:,}", lambda: history.page("reader", before=deep, offset=0, limit=PAGE)),
        ("unread count", lambda: history.unread_count("reader")),
        (f"pending, {PAGE} oldest", lambda: archive.pending("reader", limit=PAGE)),
    )


def fill(postgres: Postgres, database: str, rows: int) -> None:
    """Every tenth unread and not delivered."""
    postgres.query(
        "INSERT INTO notify_log SELECT 'ntf_' || lpad(n::text, 9, '0'), 'STRING_MSG', 'reader', "
        f"""'{{"order": 4711, "text": "{"x" * 100}"}}', n % 10 <> 0, n, n, 0, n, """
        f"CASE WHEN n % 10 <> 0 THEN n END FROM generate_series(1, {rows}) AS n",
        database,
    )
    postgres.query(f"INSERT INTO unread_count VALUES ('reader', {rows // 10})", database)
    postgres.query("VACUUM ANALYZE", database)


def _id(number: int) -> str:
    return f"ntf_{number:09}"


async def timed(read: Callable[[], Awaitable[object]]) -> Samples:
    times_ms = []
    for _ in range(READS):
        start_s = time.perf_counter()
        await read()
        times_ms.append((time.perf_counter() - start_s) * 1000)
    return Samples.spread(times_ms)
