"""What storing and reading costs, on real databases that write to the disk. `make bench` runs it, in about a minute.

Saves that share commits are measured beside saves that commit alone, in turn and in the same run: the ratio means
something on a busy machine too, the numbers do not.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path

from app.db.database import POOL_SIZE, Database
from app.notifications.repository import Cursor, NotifyRepository
from app.notifications.tables import NotifyLog
from app.runtime import Runtime, open_runtime
from app.settings import Settings
from bench.tables import write_table
from tests.postgres import Postgres, running_postgres

ROUNDS = 3
ROUND_S = 1.5
SAVERS = 500
ROWS = 1_000_000
DEPTH = 900_000  # rows above the page at depth
READS = 100
PAGE = 20

Save = Callable[[NotifyLog], Awaitable[object]]


async def compare_commits(url: str, *writers: int) -> Sequence[Sequence[str]]:
    """For so many writers without group commit: rows a second alone, together, and how many times more that is."""
    settings = Settings(_env_file=None, app_env="dev", database_url=url, auto_migrate=True)
    database = Database(url)

    async def save_alone(row: NotifyLog) -> None:
        async with database.transaction() as session:
            await NotifyRepository(session).insert([row])

    alone: dict[int, list[float]] = {number: [] for number in writers}
    together = []
    try:
        async with open_runtime(settings) as runtime:
            for _ in range(ROUNDS):
                for number in writers:
                    alone[number].append(await saves_per_s(save_alone, number))
                together.append(await saves_per_s(runtime.notify.inserts.submit, SAVERS))
    finally:
        await database.aclose()
    backend, group = database.url.get_backend_name(), statistics.median(together)
    medians = {number: statistics.median(rates) for number, rates in alone.items()}
    return [
        (f"{backend}, {number} at a time", f"{single:,.0f}", f"{group:,.0f}", f"{group / single:.1f}x")
        for number, single in medians.items()
    ]


async def saves_per_s(save: Save, savers: int) -> float:
    """`savers` at once, each going on with the next row as soon as its last is committed."""
    start_s = time.perf_counter()
    end_s = start_s + ROUND_S

    async def go_on() -> int:
        saved = 0
        while time.perf_counter() < end_s:
            await save(_row())
            saved += 1
        return saved

    return sum(await asyncio.gather(*(go_on() for _ in range(savers)))) / (time.perf_counter() - start_s)


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


async def read_a_million(postgres: Postgres) -> Sequence[Sequence[str]]:
    """Fastest, median and slowest of each read, in ms."""
    database = postgres.create_database()
    settings = Settings(_env_file=None, app_env="dev", database_url=postgres.url(database), auto_migrate=True)
    async with open_runtime(settings) as runtime:
        await asyncio.to_thread(fill, postgres, database)
        return [(name, *await timed(read)) for name, read in reads(runtime)]


def reads(runtime: Runtime) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
    notify, deep = runtime.notify, Cursor(ROWS - DEPTH, _id(ROWS - DEPTH))
    return (
        ("history, first page", lambda: notify.history("reader", before=None, offset=0, limit=PAGE)),
        (f"history, page behind {DEPTH:,} rows", lambda: notify.history("reader", before=deep, offset=0, limit=PAGE)),
        ("unread count", lambda: notify.unread_count("reader")),
        (f"pending, {PAGE} oldest", lambda: notify.pending("reader", limit=PAGE)),
    )


def fill(postgres: Postgres, database: str) -> None:
    """A million rows of one user, every tenth unread and not delivered."""
    postgres.query(
        "INSERT INTO notify_log SELECT 'ntf_' || lpad(n::text, 9, '0'), 'STRING_MSG', 'reader', "
        f"""'{{"order": 4711, "text": "{"x" * 100}"}}', n % 10 <> 0, n, n, 0, n, """
        f"CASE WHEN n % 10 <> 0 THEN n END FROM generate_series(1, {ROWS}) AS n",
        database,
    )
    postgres.query(f"INSERT INTO unread_count VALUES ('reader', {ROWS // 10})", database)
    postgres.query("VACUUM ANALYZE", database)


def _id(number: int) -> str:
    return f"ntf_{number:09}"


async def timed(read: Callable[[], Awaitable[object]]) -> Sequence[str]:
    times = []
    for _ in range(READS):
        start_s = time.perf_counter()
        await read()
        times.append((time.perf_counter() - start_s) * 1000)
    return [f"{ms:.1f}" for ms in (min(times), statistics.median(times), max(times))]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, running_postgres(fsync="on") as postgres:
        sqlite_url = f"sqlite+aiosqlite:///{Path(directory, 'bench.db')}"
        write_table(
            ("rows stored per second", "a commit each", f"shared by {SAVERS}", "ratio"),
            *asyncio.run(compare_commits(sqlite_url, 1)),  # its writers exclude each other
            *asyncio.run(compare_commits(postgres.url(postgres.create_database()), 1, POOL_SIZE)),
        )
        write_table(
            (f"ms, a user with {ROWS:,} messages, PostgreSQL", "fastest", "median", "slowest"),
            *asyncio.run(read_a_million(postgres)),
        )


if __name__ == "__main__":
    main()
