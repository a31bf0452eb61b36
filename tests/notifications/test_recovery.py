"""What was stored and not pushed, and what waits for a user who is away."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from sqlalchemy import text

from app.errors import Unavailable
from app.messages.destinations import USER_ERRORS
from app.messages.message import Envelope
from app.notifications.manager import RECOVERY_SLICE
from app.notifications.policy import DAY_MS, NotifyPolicy
from app.notifications.repository import NotifyRepository
from tests.clock import FakeClock
from tests.eventually import eventually
from tests.fakes import FakeTransport
from tests.notifications.node import INBOX_LIMIT, Device, Node, running_node

GRACE_S = NotifyPolicy().grace_ms / 1000


class BrokenTransport(FakeTransport):
    broken = True

    def send(self, data: bytes, binary: bool = False) -> None:
        if self.broken:
            raise RuntimeError("no such wire")
        super().send(data, binary)


@pytest.fixture
async def pair(postgres_url: str) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes with one database and one time."""
    clock = FakeClock()
    async with running_node(postgres_url, clock) as one, running_node(postgres_url, clock) as other:
        yield one, other


async def store_many(node: Node, count: int, to: str = "ann") -> list[str]:
    """One after the other in time; the first is the oldest."""
    ids = [f"m{number:04}" for number in range(count)]
    now_ms = node.clock.epoch_ms()
    values = ", ".join(
        f"('{id}', 'STRING_MSG', '{to}', '1', false, {now_ms + number}, {now_ms}, 0)" for number, id in enumerate(ids)
    )
    await node.sql(
        f"INSERT INTO notify_log (id, type, receiver, data, viewed, created, last_modified, version) VALUES {values}"
    )
    node.clock.advance(count / 1000)
    return ids


# Recovery


async def test_what_was_not_pushed_is_pushed_once_the_grace_is_over(node: Node) -> None:
    device = await node.listening()
    await node.store("m")
    node.clock.advance(GRACE_S)
    assert await node.manager.recover() == 0
    assert device.got() == []
    node.clock.advance(0.001)
    assert await node.manager.recover() == 1
    assert await node.manager.recover() == 0
    assert device.got() == ["m"]
    assert await node.ids("pushed_at IS NOT NULL") == ["m"]


async def test_what_was_stored_before_the_clock_stepped_back_is_pushed_without_waiting_for_its_time_to_come(
    node: Node,
) -> None:
    device = await node.listening()
    await node.store("before")
    node.clock.step(-3600)
    await node.store("after")
    assert await node.manager.recover() == 1
    assert device.got() == ["before"]


async def test_row_of_a_node_whose_clock_is_ahead_is_not_pushed_before_the_grace_is_over(node: Node) -> None:
    device = await node.listening()
    await node.store("m")
    node.clock.step(-GRACE_S)
    assert await node.manager.recover() == 0
    assert device.got() == []


async def test_what_was_pushed_is_not_recovered(node: Node) -> None:
    device = await node.listening()
    await node.push("m")
    device.ack("m")
    node.clock.advance(GRACE_S + 1)
    await node.manager.recover()  # the notes of both wait still
    await node.noted()
    assert await node.manager.recover() == 0
    assert device.got() == ["m"]


async def test_what_the_user_has_read_in_the_meantime_is_not_recovered(node: Node) -> None:
    device = await node.listening()
    await node.store("m")
    await node.history.mark_viewed("ann", ["m"])
    device.got()
    node.clock.advance(GRACE_S + 1)
    await node.manager.recover()
    assert device.got() == []


async def test_recovery_reaches_the_session_that_was_there_though_another_has_fetched_the_message(node: Node) -> None:
    first = await node.listening()
    await node.store("m")  # its commit took longer than the request that made it could wait
    second = await node.listening()
    assert second.got() == ["m"]
    node.clock.advance(GRACE_S + 1)
    await node.manager.recover()
    assert first.got() == ["m"]
    assert second.got() == []


async def test_the_job_recovers_everything_oldest_first(node: Node) -> None:
    device = await node.listening()
    ids = await store_many(node, RECOVERY_SLICE + 20)
    node.clock.advance(GRACE_S + 1)
    await node.manager.run_recovery()
    assert device.got() == ids
    assert await node.ids("pushed_at IS NULL") == []


async def test_rows_stay_unpushed_if_the_push_fails(node: Node) -> None:
    transport = BrokenTransport()
    device = node.device(transport=transport)
    await device.replay()
    await node.store("m", "n")
    node.clock.advance(GRACE_S + 1)
    with pytest.raises(RuntimeError):
        await node.manager.recover()
    assert await node.ids("pushed_at IS NULL") == ["m", "n"]
    transport.broken = False
    await node.manager.recover()
    assert {"m", "n"} >= set(device.got()) >= {"n"}
    assert await node.ids("pushed_at IS NULL") == []


async def test_two_nodes_recover_each_row_once(pair: tuple[Node, Node]) -> None:
    devices = [await node.listening() for node in pair]
    ids = await store_many(pair[0], 2 * RECOVERY_SLICE)
    pair[0].clock.advance(GRACE_S + 1)
    await asyncio.gather(*(node.manager.run_recovery() for node in pair))
    got = [device.got() for device in devices]
    assert sorted(got[0] + got[1]) == ids
    assert await pair[0].ids("pushed_at IS NULL") == []


async def test_recovery_does_not_wait_for_rows_that_another_node_has_in_hand(pair: tuple[Node, Node]) -> None:
    one, other = pair
    await one.store("locked", "free")
    one.clock.advance(GRACE_S + 1)
    async with other.database.transaction() as session:
        await session.execute(text("SELECT id FROM notify_log WHERE id = 'locked' FOR UPDATE"))
        async with asyncio.timeout(30):
            assert await one.manager.recover() == 1
    assert await one.ids("pushed_at IS NULL") == ["locked"]


async def test_the_job_outlives_a_database_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    async with running_node("postgresql://postgres@127.0.0.1:1/notify") as node:
        await node.manager.run_recovery()
        await node.manager.run_retention()
    assert "recovery waits" in caplog.text
    assert "retention waits" in caplog.text


# Acknowledgements


async def test_the_first_acknowledgement_is_when_it_was_delivered(node: Node) -> None:
    first, second = await node.listening(), await node.listening()
    await node.push("m")
    first.ack("m")
    at_ms = node.clock.epoch_ms()
    await node.noted()
    node.clock.advance(5)
    second.ack("m")
    await node.noted()
    assert await node.sql("SELECT delivered_at FROM notify_log") == [(at_ms,)]


async def test_acknowledgements_are_written_together(node: Node) -> None:
    device = await node.listening()
    ids = [f"m{number}" for number in range(100)]
    await asyncio.gather(*(node.push(id) for id in ids))
    device.ack(*ids)
    await node.noted()
    assert await node.ids("delivered_at IS NULL") == []


async def test_nobody_acknowledges_for_another(node: Node) -> None:
    mallory = await node.listening("mallory")
    await node.push("m")
    mallory.ack("m", "no-such-id", "x' OR '1'='1")
    await node.noted()
    assert await node.ids("delivered_at IS NOT NULL") == []
    assert (await node.listening()).got() == ["m"]


async def test_an_acknowledgement_counts_for_a_message_that_the_log_has_forgotten(url: str) -> None:
    async with running_node(url, log_size=1) as node:
        device = await node.listening()
        await node.push("m")
        await node.push("n")
        device.ack("m")
        await node.noted()
        assert await node.ids("delivered_at IS NOT NULL") == ["m"]


# A user who comes back


async def test_who_comes_back_gets_what_nobody_of_his_acknowledged_oldest_first(url: str) -> None:
    async with running_node(url) as node:
        for id in ("z", "y", "x", "w"):
            await node.push(id)
            node.clock.advance(0.001)
        await node.push("bobs", to="bob")
        gone = await node.listening()
        gone.ack("y")
        gone.leave()
        await node.history.mark_viewed("ann", ["x"])
        await node.noted()
    async with running_node(url) as restarted:
        restarted.clock.advance(86_400)
        device = await restarted.listening()
        assert device.got() == ["z", "w"]
        device.ack("z", "w")
        await restarted.noted()
        assert (await restarted.listening()).got() == []


async def test_what_came_before_the_retention_is_not_sent_any_more(node: Node) -> None:
    await node.push("old")
    node.clock.advance(1)
    await node.push("new")
    node.clock.advance(NotifyPolicy().retention_days * DAY_MS / 1000 - 0.5)
    assert (await node.listening()).got() == ["new"]


@pytest.mark.parametrize(("count", "more"), [(INBOX_LIMIT, 0), (INBOX_LIMIT + 1, 1), (3 * INBOX_LIMIT, 20)])
async def test_beyond_the_limit_the_user_is_told_how_many_are_left(node: Node, count: int, more: int) -> None:
    ids = await store_many(node, count)
    node.clock.advance(60)
    device = node.device()
    await device.replay()
    frames = device.transport.frames()
    messages = [frame for frame in frames if frame.headers["destination"] != USER_ERRORS]
    told = [json.loads(frame.body) for frame in frames if frame.headers["destination"] == USER_ERRORS]
    assert [frame.headers["message-id"] for frame in messages] == ids[:INBOX_LIMIT]
    assert [body["more"] for body in told] == [more] * bool(more)
    assert all(str(more) in body["detail"] for body in told)


async def test_what_was_given_up_for_a_session_waits_for_the_next(node: Node) -> None:
    device = await node.listening()
    await node.push("m")
    for _ in range(300):
        node.clock.advance(0.25)
        await node.delivery.sweep()
    assert device.open == 0
    assert set(device.got()) == {"m"}
    assert (await node.listening()).got() == ["m"]


async def start_slow_replay(node: Node) -> tuple[Device, "asyncio.Task[None]"]:
    """A device that comes back and takes nothing yet."""
    device = node.device()
    device.transport.room.clear()
    replay = asyncio.create_task(device.replay())
    await asyncio.sleep(0.1)
    return device, replay


@pytest.mark.parametrize("age_s", [60.0, 0.0])
@pytest.mark.parametrize("count", [3, INBOX_LIMIT + 5])
async def test_what_arrives_during_a_replay_reaches_the_live_session(node: Node, count: int, age_s: float) -> None:
    ids = await store_many(node, count)
    node.clock.advance(age_s)
    device, replay = await start_slow_replay(node)
    await node.push("young")
    device.transport.room.set()
    await replay
    await node.push("younger")
    assert device.got() == [*ids[:INBOX_LIMIT], "young", "younger"]


class FlakyArchive:
    """Fails once, after `meanwhile`; then it is that of the node."""

    def __init__(self, node: Node, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._node = node
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        return True

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
            raise Unavailable("away")
        return await self._node.archive.pending(receiver, limit=limit)

    def delivered(self, receiver: str, message_id: str) -> None:
        self._node.archive.delivered(receiver, message_id)

    def confirmation(self, receiver: str, message_id: str) -> Awaitable[None] | None:
        return self._node.archive.confirmation(receiver, message_id)

    def replayed(self, message_id: str) -> None:
        self._node.archive.replayed(message_id)


@pytest.mark.parametrize("count", [3, INBOX_LIMIT + 5])
async def test_what_arrives_while_the_archive_cannot_be_read_reaches_the_live_session(
    node: Node, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.delivery.replay.RETRY_S", 0.01)
    ids = await store_many(node, count)
    node.clock.advance(60)
    node.read_archive.target = FlakyArchive(node, lambda: node.push("young"))
    device = await node.listening()
    await eventually(lambda: len(node.tasks) == 0)
    assert device.got() == ["young", *ids[:INBOX_LIMIT]]


async def test_what_is_deleted_during_a_replay_is_not_sent_any_more(node: Node) -> None:
    await store_many(node, 3)
    device, replay = await start_slow_replay(node)
    await node.history.delete("ann", ["m0001"])
    device.frames()
    device.transport.room.set()
    await replay
    assert device.got() == ["m0000", "m0002"]


async def test_what_recovery_pushed_and_could_not_mark_is_not_pushed_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the database has just gone")

    device = await node.listening()
    await node.store("m1")
    node.clock.advance(11)
    with monkeypatch.context() as patch:
        patch.setattr(NotifyRepository, "mark_pushed", fails)
        with pytest.raises(Unavailable):
            await node.manager.recover()
        device.ack("m1")
    await node.manager.recover()
    assert device.got() == ["m1"]


async def test_what_a_replay_has_sent_before_recovery_keeps_its_account(node: Node) -> None:
    await node.store("m1")
    device = await node.listening()
    assert device.got() == ["m1"]
    node.clock.advance(11)

    await node.manager.recover()
    device.ack("m1")

    trace = node.delivery.trace("m1")
    assert trace is not None
    assert (trace.attempts, trace.status(node.clock.epoch_ms())) == (1, "delivered")
    assert device.got() == []


# What is marked as sent


async def test_what_a_replay_has_sent_before_recovery_comes_again_as_redelivered(url: str) -> None:
    async with running_node(url) as node:
        await node.store("m1")
        first = await node.listening()
        assert first.got() == ["m1"]
        first.leave()
        await node.noted()
        node.clock.advance(GRACE_S + 1)
        await node.manager.recover()
        await node.noted()
        assert await node.ids("sent") == ["m1"]
    async with running_node(url) as restarted:
        second = await restarted.listening()
        assert [frame.headers.get("redelivered") for frame in second.frames()] == ["true"]


async def test_the_place_of_a_message_is_stored_with_its_push(node: Node) -> None:
    device = await node.listening()
    await node.push("m1")
    await node.push("m2", to="bob")
    await node.push("m3")
    await node.noted()
    rows = {id: (seq, sent) for id, seq, sent in await node.sql("SELECT id, seq, sent FROM notify_log")}
    assert [bool(rows[id][1]) for id in ("m1", "m2", "m3")] == [True, False, True]
    assert rows["m1"][0] < rows["m2"][0] < rows["m3"][0]
    archived, _ = await node.archive.pending("ann", limit=10)
    assert [(one.seq, one.was_sent) for one in archived] == [(rows[id][0], True) for id in ("m1", "m3")]
    assert device.got() == ["m1", "m3"]


async def test_a_place_that_is_not_written_yet_is_known_all_the_same(node: Node) -> None:
    await node.push("m1", to="bob")
    (archived,), _ = await node.archive.pending("bob", limit=10)
    assert archived.seq > 0
    assert not archived.was_sent
    await node.noted()
    ((seq,),) = await node.sql("SELECT seq FROM notify_log")
    assert seq == archived.seq
