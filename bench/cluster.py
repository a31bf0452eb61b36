"""What a push costs through Redis, against the memory of one process. `make bench` runs it, in about a minute.

The two modes take turns in the same run, each in a process of its own that is pinned to one core: the ratio means
something on a busy machine too, the numbers do not.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from app.clock import SystemClock
from app.delivery.ack_manager import AckManager
from app.delivery.ledger import MemoryLedger
from app.delivery.log import Record, Trace
from app.delivery.retry import RetryPolicy
from app.hub.hub import Hub
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from bench.load import Counts, listen, push
from bench.tables import write_table
from tests.server import Server, running_server
from tests.valkey import Valkey, running_valkey

ROUNDS = 3
ROUND_S = 4.0
USERS = [f"test-{number}" for number in range(200)]
CONNECTIONS = 16
BATCH = 100
MONITORED_S = 1.0
RECORDS = 100_000
SWEEPS = 200
SETTINGS = {"LOG_ACK_EVENTS": "false", "ACK_CHECK_WAIT_MS": "60000"}


@dataclass
class Result:
    """Acknowledged pushes a second, and CPU of the server for each of them in µs."""

    per_s: float
    cpu_us: float
    p99_ms: float


@contextmanager
def pinned_server(**env: str) -> Iterator[Server]:
    with running_server(**SETTINGS | env) as server:
        with suppress(OSError):  # a machine with one core
            os.sched_setaffinity(server.process.pid, {0})
        yield server


async def measure(server: Server, batch: int, seconds: float = ROUND_S) -> Result:
    counts = Counts()
    transports = await listen(server.port, USERS, counts)
    start_s, start_cpu_s = time.perf_counter(), cpu_s(server)
    await push(server.port, USERS, counts, seconds=seconds, connections=CONNECTIONS, batch=batch)
    await counts.all_acknowledged()
    wall_s, used_s = time.perf_counter() - start_s, cpu_s(server) - start_cpu_s
    for transport in transports:
        transport.close()
    assert counts.refused == 0, f"{counts.refused} pushes were refused"
    p99_ms = statistics.quantiles(counts.latencies_ms, n=100)[98]
    return Result(counts.answered / wall_s, used_s / counts.answered * 1e6, p99_ms)


def cpu_s(server: Server) -> float:
    """Of the process so far."""
    with open(f"/proc/{server.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(memory: Server, redis: Server, batch: int) -> Sequence[str]:
    results: dict[str, list[Result]] = {"memory": [], "redis": []}
    for _ in range(ROUNDS):
        for name, server in (("memory", memory), ("redis", redis)):
            results[name].append(asyncio.run(measure(server, batch)))
    middle = {name: sorted(some, key=lambda one: one.per_s)[ROUNDS // 2] for name, some in results.items()}
    ratio = middle["redis"].per_s / middle["memory"].per_s
    return (
        "single pushes" if batch == 1 else f"batches of {batch}",
        *(f"{middle[name].per_s:,.0f}" for name in ("memory", "redis")),
        f"{ratio:.2f}",
        *(f"{middle[name].cpu_us:.0f}" for name in ("memory", "redis")),
        *(f"{middle[name].p99_ms:.1f}" for name in ("memory", "redis")),
    )


# Commands


async def commands_per_push(valkey: Valkey, server: Server, batch: int) -> float:
    """What Redis was sent for each acknowledged push; what its scripts did on their own is not in it."""
    sent = 0

    def count() -> None:
        nonlocal sent
        with valkey.client() as client, client.monitor() as monitor:
            started.set()
            for command in monitor.listen():
                if command["command"].startswith("GET bench::end"):
                    return
                sent += command["client_type"] != "lua"

    started = asyncio.Event()
    watching = asyncio.create_task(asyncio.to_thread(count))
    await asyncio.sleep(0.2)
    counts = Counts()
    transports = await listen(server.port, USERS, counts)
    before = sent
    await push(server.port, USERS, counts, seconds=MONITORED_S, connections=CONNECTIONS, batch=batch)
    await counts.all_acknowledged()
    await asyncio.sleep(0.1)
    valkey.command("GET", "bench::end")
    await watching
    for transport in transports:
        transport.close()
    return (sent - before) / counts.answered


# The retry job


async def sweep_us(records: int) -> float:
    """Of one look at so many records of which none is due."""
    clock, ledger = SystemClock(), MemoryLedger()
    acks = AckManager(hub=Hub(), ledger=ledger, policy=RetryPolicy(), clock=clock, log_events=False)
    for number in range(records):
        message = NotifyMessage(id=f"m{number}", type="STRING_MSG", receiver="ann", data="x", created=0)
        ledger.open(
            Record(
                trace=Trace(id=message.id, receiver="ann", type=message.type, created_ms=0, expires_ms=10**13),
                session_id=f"s{number % 1000}",
                envelope=Envelope(message=message, encoder=MessageEncoder(message), expires_ms=10**13),
                attempt=1,
                sent_ms=0,
                due_s=clock.monotonic() + 3600,
                expires_s=clock.monotonic() + 7200,
            )
        )
    times = []
    for _ in range(SWEEPS):
        start_s = time.perf_counter()
        await acks.sweep()
        times.append((time.perf_counter() - start_s) * 1e6)
    return statistics.median(times)


def main() -> None:
    with running_valkey() as valkey, pinned_server() as memory, pinned_server(REDIS_URL=valkey.url) as redis:
        write_table(
            ("acknowledged pushes a second", "memory", "Redis", "ratio", "CPU µs", "CPU µs", "p99 ms", "p99 ms"),
            compare(memory, redis, 1),
            compare(memory, redis, BATCH),
        )
        write_table(
            ("commands sent to Redis for one acknowledged push", ""),
            ("single pushes", f"{asyncio.run(commands_per_push(valkey, redis, 1)):.2f}"),
            (f"batches of {BATCH}", f"{asyncio.run(commands_per_push(valkey, redis, BATCH)):.2f}"),
        )
    write_table(
        ("a look at the ledger, nothing due", "median µs"),
        ("no records", f"{asyncio.run(sweep_us(0)):.1f}"),
        (f"{RECORDS:,} records", f"{asyncio.run(sweep_us(RECORDS)):.1f}"),
    )


if __name__ == "__main__":
    main()
