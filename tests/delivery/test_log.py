import subprocess
import sys
from pathlib import Path

import pytest

from app.delivery.log import MAX_RECORDS, DeliveryLog, Record, Trace
from tests.delivery.node import Node


def new_trace(id: str = "m1", *, acknowledged: bool = True) -> Trace:
    return Trace(id=id, receiver="ann", type="STRING_MSG", created_ms=0, expires_ms=60_000, acknowledged=acknowledged)


def new_record(trace: Trace, session_id: str) -> Record:
    return Record(trace=trace, session_id=session_id, envelope=None, attempt=1, sent_ms=0, due_s=0.0, expires_s=0.0)


def test_the_log_finds_what_was_added_until_it_is_discarded() -> None:
    log, trace = DeliveryLog(10), new_trace()
    assert log.get("m1") is None
    log.add(trace)
    assert (log.get("m1"), len(log)) == (trace, 1)
    log.discard("m1")
    log.discard("m1")
    assert (log.get("m1"), len(log)) == (None, 0)


def test_a_full_log_forgets_the_oldest() -> None:
    log = DeliveryLog(3)
    for id in ("a", "b", "c", "d"):
        log.add(new_trace(id))
    assert len(log) == 3
    assert log.get("a") is None
    assert log.get("b") is not None


def test_refused_pushes_do_not_empty_a_full_log() -> None:
    log = DeliveryLog(3)
    for id in ("a", "b", "c"):
        log.add(new_trace(id))
    for n in range(100):
        log.add(new_trace(f"refused{n}"))
        log.discard(f"refused{n}")
    assert len(log) == 2


def traced(id: str = "m1") -> Trace:
    """A trace with one record: each refers to the other."""
    trace = new_trace(id)
    trace.add(new_record(trace, "s1"))
    return trace


def test_evicted_trace_keeps_no_records() -> None:
    log, evicted, kept = DeliveryLog(1), traced("a"), traced("b")
    log.add(evicted)
    log.add(kept)
    assert (len(evicted.records), len(kept.records)) == (0, 1)


def test_discarded_trace_keeps_no_records() -> None:
    log, trace = DeliveryLog(1), traced()
    log.add(trace)
    log.discard(trace.id)
    assert not trace.records


def test_replaced_trace_keeps_no_records_and_costs_no_other_its_place() -> None:
    log, other, replaced, new = DeliveryLog(2), traced("a"), traced("b"), traced("b")
    for trace in (other, replaced, new):
        log.add(trace)
    assert log.get("b") is new
    assert (len(other.records), len(replaced.records), len(new.records)) == (1, 0, 1)


def test_message_that_is_sent_after_its_eviction_leaves_no_record_in_its_trace() -> None:
    log, trace = DeliveryLog(1), new_trace("a")
    log.add(trace)
    log.add(new_trace("b"))
    trace.add(new_record(trace, "s1"))
    assert not trace.records


async def test_evicted_message_is_resent_and_acknowledged_all_the_same() -> None:
    node = Node(log_size=1)
    device = await node.listening()
    await node.push("a")
    await node.push("b")
    await node.pass_time(node.policy.wait_s + node.policy.interval_s)
    assert device.attempts() == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]
    device.ack("a")
    assert device.open == ["b"]
    assert await node.pending() == ["b"]


def test_a_trace_remembers_the_last_sessions_only() -> None:
    trace = new_trace()
    for n in range(MAX_RECORDS + 5):
        trace.add(new_record(trace, f"s{n}"))
    assert len(trace.records) == MAX_RECORDS
    assert next(iter(trace.records)) == "s5"
    assert list(trace.records)[-1] == f"s{MAX_RECORDS + 4}"


def test_a_record_knows_its_message() -> None:
    assert new_record(new_trace("m7"), "s1").message_id == "m7"


@pytest.mark.parametrize(
    ("acknowledged", "attempts", "acked_ms", "now_ms", "status"),
    [
        (True, 0, None, 59_999, "stored"),
        (True, 1, None, 59_999, "sent"),
        (True, 1, 5, 59_999, "delivered"),
        (True, 0, 5, 59_999, "delivered"),
        (True, 1, 5, 60_000, "delivered"),
        (True, 0, None, 60_000, "expired"),
        (True, 1, None, 60_000, "expired"),
        (False, 0, None, 59_999, "stored"),
        (False, 0, None, 60_000, "expired"),
        (False, 1, None, 60_000, "sent"),
        (False, 1, 5, 60_000, "delivered"),
    ],
)
def test_the_status_tells_how_far_a_message_came(
    acknowledged: bool, attempts: int, acked_ms: int | None, now_ms: int, status: str
) -> None:
    trace = new_trace(acknowledged=acknowledged)
    trace.attempts, trace.acked_ms = attempts, acked_ms
    assert trace.status(now_ms) == status


_DIGEST = """
from app.delivery.log import digest_of
from app.messages.message import MessageEncoder, NotifyMessage
print(digest_of({destination!r}, MessageEncoder(NotifyMessage("m1", "STRING_MSG", "ann", {data!r}, False, {created}))))
"""


def digest_elsewhere(destination: str, data: str, created: int, seed: int) -> str:
    program = _DIGEST.format(destination=destination, data=data, created=created)
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": str(seed)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    ).stdout.decode()


def test_the_digest_of_a_content_is_the_same_in_every_process() -> None:
    digest = digest_elsewhere("/user/queue/msg", "x", 1, seed=1)
    assert digest_elsewhere("/user/queue/msg", "x", 2, seed=2) == digest
    assert digest_elsewhere("/user/queue/msg", "y", 1, seed=1) != digest
    assert digest_elsewhere("/topic/a", "x", 1, seed=1) != digest
