"""What the retry job costs while nothing is due."""

import asyncio
import time
from collections.abc import Iterator

from app.cluster.ledger.memory import MemoryLedger
from app.delivery.ack_manager import AckManager
from app.delivery.log import Record, Trace
from app.delivery.retry import RetryPolicy
from app.hub.hub import Hub
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.timing.clock import SystemClock
from bench.results import Row, Samples, row
from bench.scale import Scale

SWEEPS = 200


def ledger(scale: Scale) -> Iterator[Row]:
    """A look at the ledger in memory with many records of which none is due, against one at an empty ledger."""
    yield row(
        "ledger", f"a look at {scale.records:,} records, nothing due", "µs", asyncio.run(sweeps(scale.records)),
        against=asyncio.run(sweeps(0)), reference_name="no records",
    )  # fmt: skip


async def sweeps(records: int) -> Samples:
    clock, ledger = SystemClock(), MemoryLedger()
    acks = AckManager(hub=Hub(), ledger=ledger, policy=RetryPolicy(), clock=clock, log_events=False)
    for number in range(records):
        ledger.open(record(number, clock.monotonic()))
    times_us = []
    for _ in range(SWEEPS):
        start_s = time.perf_counter()
        await acks.sweep()
        times_us.append((time.perf_counter() - start_s) * 1e6)
    return Samples.spread(times_us)


def record(number: int, now_s: float) -> Record:
    """Due in an hour."""
    message = NotifyMessage(id=f"m{number}", type="STRING_MSG", receiver="ann", data="x", viewed=False, created=0)
    return Record(
        trace=Trace(id=message.id, receiver="ann", type=message.type, created_ms=0, expires_ms=10**13),
        session_id=f"s{number % 1000}",
        envelope=Envelope(message=message, encoder=MessageEncoder(message), expires_ms=10**13),
        attempt=1,
        sent_ms=0,
        due_s=now_s + 3600,
        expires_s=now_s + 7200,
    )
