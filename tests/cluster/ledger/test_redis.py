"""The Redis ledger beyond the contract of all ledgers."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.cluster.keys import NODES, PENDING, ledger_keys
from app.cluster.ledger import redis as redis_ledger
from app.cluster.ledger.redis import RedisLedger
from app.cluster.node import ClusterNode
from app.delivery.log import Record, Trace
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.timing import write_behind
from tests.eventually import eventually
from tests.nodes import proxied_node, running, running_node
from tests.valkey import calls, fresh_database, valkey


@pytest.fixture
async def node() -> AsyncIterator[ClusterNode]:
    with fresh_database() as url:
        async with running_node(url, "n1") as node:
            await node.members.poll()  # so that it is not new
            yield node


def opened(ledger: RedisLedger, *ids: str, session_id: str = "s1", data: str = "hello") -> list[Record]:
    records = []
    for id in ids:
        message = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data=data, viewed=False, created=5)
        record = Record(
            trace=Trace(id=id, receiver="ann", type="STRING_MSG", created_ms=5, expires_ms=60_005),
            session_id=session_id,
            envelope=Envelope(message=message, encoder=MessageEncoder(message), expires_ms=60_005),
            attempt=1,
            sent_ms=7,
            due_s=10.0,
            expires_s=60.0,
        )
        ledger.open(record)
        records.append(record)
    return records


def written(key: str = PENDING) -> Mapping[str, Any]:
    pairs = valkey().client().hgetall(key)
    return {str(field): json.loads(str(value)) for field, value in pairs.items()}


async def test_a_record_is_the_message_as_it_was_last_sent_with_its_node(node: ClusterNode) -> None:
    ledger = RedisLedger(node)
    (record,) = opened(ledger, "m1")
    await ledger.flush()
    assert written() == {
        "m1::s1": {
            "id": "m1",
            "type": "STRING_MSG",
            "receiver": "ann",
            "data": "hello",
            "viewed": False,
            "created": 5,
            "ack_retry_count": 0,
            "ack_last_sent": 7,
            "node": "n1",
        }
    }
    record.attempt, record.sent_ms = 3, 9
    ledger.reschedule(record, 20.0)
    await ledger.flush()
    assert (written()["m1::s1"]["ack_retry_count"], written()["m1::s1"]["ack_last_sent"]) == (2, 9)


async def test_records_of_one_moment_are_one_command(node: ClusterNode) -> None:
    ledger = RedisLedger(node)
    records = opened(ledger, *(f"m{n}" for n in range(300)))
    before = calls("hset")
    await ledger.flush()
    assert calls("hset") - before == 1
    for record in records[:200]:
        ledger.close(record)
    opened(ledger, *(f"n{n}" for n in range(100)))
    assert ledger.unapplied == 300
    removed_before = calls("hdel")
    await ledger.flush()
    assert (calls("hset") - before, calls("hdel") - removed_before) == (2, 1)
    assert len(written()) == 200


async def test_a_record_that_is_closed_before_it_is_written_costs_nothing(node: ClusterNode) -> None:
    ledger = RedisLedger(node)
    (record,) = opened(ledger, "m1")
    ledger.close(record)
    before = calls("hset"), calls("hdel")
    await ledger.flush()
    assert ((calls("hset"), calls("hdel")), written()) == (before, {})


async def test_large_records_leave_in_several_commands(node: ClusterNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_ledger, "PART_BYTES", 1_000)
    ledger = RedisLedger(node)
    opened(ledger, *(f"m{n}" for n in range(4)), data="x" * 300)
    opened(ledger, "huge", data="x" * 5_000)
    opened(ledger, "last", data="x" * 300)
    before = calls("hset")
    await ledger.flush()
    assert calls("hset") - before == 4
    assert len(written()) == 6


async def test_records_are_spread_over_the_partitions(node: ClusterNode) -> None:
    ledger = RedisLedger(node, partitions=3)
    records = opened(ledger, *(f"m{n}" for n in range(60)))
    await ledger.flush()
    parts = [written(key) for key in ledger_keys(3)]
    assert sum(len(part) for part in parts) == 60
    assert min(len(part) for part in parts) > 5
    for record in records:
        ledger.close(record)
    await ledger.flush()
    assert [written(key) for key in ledger_keys(3)] == [{}] * 3


async def test_what_is_acknowledged_while_redis_is_away_is_gone_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.01)
    async with proxied_node("n1") as (proxy, node):
        ledger = RedisLedger(node)
        async with running(ledger.run):
            acknowledged, kept = opened(ledger, "m1", "m2")
            await ledger.flush()
            proxy.refuse()
            proxy.cut()
            await eventually(lambda: not node.client.is_up)
            ledger.close(acknowledged)
            (new,) = opened(ledger, "m3")
            with pytest.raises(Unavailable):
                await ledger.flush()
            assert set(written()) == {"m1::s1", "m2::s1"}
            await proxy.allow()
            await eventually(lambda: set(written()) == {"m2::s1", "m3::s1"})
            assert [ledger.get("s1", record.message_id) for record in (kept, new)] == [kept, new]
            await eventually(lambda: ledger.unapplied == 0)


async def test_a_redis_that_lost_all_has_all_again() -> None:
    async with proxied_node("n1") as (proxy, node):
        ledger = RedisLedger(node)
        async with running(ledger.run):
            opened(ledger, "m1", "m2")
            await ledger.flush()
            valkey().command("FLUSHALL")
            proxy.cut()
            await eventually(lambda: set(written()) == {"m1::s1", "m2::s1"})


async def test_records_that_were_closed_stay_closed_when_a_failover_has_lost_it() -> None:
    async with proxied_node("n1") as (proxy, node):
        ledger = RedisLedger(node)
        async with running(ledger.run):
            closed, _ = opened(ledger, "m1", "m2")
            await ledger.flush()
            before = valkey().command("HGET", PENDING, "m1::s1")
            ledger.close(closed)
            await ledger.flush()
            valkey().command("HSET", PENDING, "m1::s1", before)
            proxy.cut()
            await eventually(lambda: set(written()) == {"m2::s1"})


async def test_a_node_that_was_taken_for_dead_writes_its_records_again(node: ClusterNode) -> None:
    ledger = RedisLedger(node)
    async with running(ledger.run):
        opened(ledger, "m1")
        await ledger.flush()
        valkey().command("DEL", PENDING)
        valkey().command("ZADD", NODES, 1, "n1")
        await node.members.poll()
        await eventually(lambda: set(written()) == {"m1::s1"})


async def test_writes_are_retried_while_the_key_has_another_type(node: ClusterNode) -> None:
    valkey().command("SET", PENDING, "garbage")
    ledger = RedisLedger(node)
    (record,) = opened(ledger, "m1")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await ledger.flush()
    assert ledger.pop_due(11.0) == [record]
    valkey().command("DEL", PENDING)
    await ledger.flush()
    assert set(written()) == {"m1::s1"}
