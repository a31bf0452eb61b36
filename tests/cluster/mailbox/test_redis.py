"""The Redis mailbox beyond the contract of all mailboxes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from app.cluster.keys import DESCRIPTIONS, head_key, inbox_key, log_key, message_key, user_channel
from app.cluster.mailbox import puts, replies
from app.cluster.mailbox import redis as redis_mailbox
from app.cluster.mailbox.redis import RedisMailbox
from app.cluster.node import ClusterNode
from app.cluster.wire import decode_envelope, parse_node_message
from app.delivery.mailbox import Described, Keep, Kind, MailboxLimits, Missed, Placed
from app.delivery.status import shared_status
from app.errors import InboxFull, Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.timing import write_behind
from app.timing.clock import SystemClock
from tests.eventually import eventually
from tests.nodes import proxied_node, running, running_node
from tests.valkey import calls, fresh_database, running_valkey, valkey

KEY = inbox_key("ann")


def new_envelope(
    id: str = "m1", *, receiver: str = "ann", data: str = "hello", ttl_ms: int = 60_000, acknowledged: bool = True
) -> Envelope:
    now_ms = time.time_ns() // 1_000_000
    message = NotifyMessage(id=id, type="STRING_MSG", receiver=receiver, data=data, viewed=False, created=now_ms)
    return Envelope(
        message=message, encoder=MessageEncoder(message), expires_ms=now_ms + ttl_ms, acknowledged=acknowledged
    )


class SteppingClock(SystemClock):
    """A clock that advances by `step_s` with each reading of the monotonic time."""

    def __init__(self, step_s: float = 0.0) -> None:
        self._now_s, self._step_s = 0.0, step_s

    def monotonic(self) -> float:
        self._now_s += self._step_s
        return self._now_s


def mailbox_of(
    node: ClusterNode, *, most: int = 5, replicas: int = 0, clock: SystemClock | None = None
) -> RedisMailbox:
    limits = MailboxLimits(max_messages=most)
    return RedisMailbox(node.client, limits=limits, clock=clock or SteppingClock(), node=node.name, replicas=replicas)


@asynccontextmanager
async def running_mailbox(node: ClusterNode) -> AsyncIterator[RedisMailbox]:
    mailbox = mailbox_of(node)
    async with running(mailbox.run):
        yield mailbox


@pytest.fixture
async def node() -> AsyncIterator[ClusterNode]:
    with fresh_database() as url:
        async with running_node(url) as node:
            yield node


async def listen(node: ClusterNode) -> None:
    if (pending := node.client.subscriptions.subscribe(user_channel("ann"))) is not None:
        await pending


async def read(mailbox: RedisMailbox, receiver: str = "ann") -> list[tuple[str, bool]]:
    """Return the waiting messages, and whether each counts as sent."""
    now_ms = time.time_ns() // 1_000_000
    envelopes = await mailbox.read(receiver, now_ms, lambda head: None)
    return [(envelope.message.id, envelope.was_sent) for envelope in envelopes]


async def catch_up(mailbox: RedisMailbox, cursor: int) -> Missed:
    answers: list[Missed] = []
    await mailbox.catch_up("ann", cursor, answers.append)
    (answer,) = answers
    return answer


def ids() -> set[str]:
    return {str(id) for id in valkey().command("HKEYS", KEY)}


# Putting


async def test_the_nodes_that_listen_are_counted_without_this_one(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    assert (await mailbox.put(new_envelope("m1"))).others == 0
    async with running_node(valkey().url, "n2") as other:
        await listen(other)
        assert (await mailbox.put(new_envelope("m2"))).others == 1
        await listen(node)
        assert (await mailbox.put(new_envelope("m3"))).others == 1


async def test_keep_unheard_keeps_no_message_that_a_node_received(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    async with running_node(valkey().url, "n2") as other:
        await listen(other)
        placed = await mailbox.put(new_envelope(acknowledged=False), keep=Keep.UNHEARD)
        assert (placed.others, placed.kept) == (1, False)
        assert ids() == set()


async def test_a_message_that_no_node_received_and_no_session_read_was_not_sent(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    await mailbox.put(new_envelope("m1"))
    await listen(node)
    await mailbox.put(new_envelope("m2"))
    node.client.subscriptions.unsubscribe(user_channel("ann"))
    assert await read(mailbox) == [("m1", False), ("m2", True)]
    await mailbox.put(new_envelope("m3"))
    assert await read(mailbox) == [("m1", True), ("m2", True), ("m3", False)]
    assert str(valkey().command("GET", head_key("ann"))).split()[3] == "0"


async def test_an_id_that_was_acknowledged_a_moment_ago_is_known(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    await mailbox.put(new_envelope(), kind=Kind.GIVEN, digest="1")
    mailbox.acknowledge("ann", "m1")
    assert (await mailbox.put(new_envelope(), kind=Kind.GIVEN, digest="1")).known == "1"
    assert await read(mailbox) == []


async def test_a_full_inbox_counts_what_was_acknowledged_a_moment_ago_as_gone(node: ClusterNode) -> None:
    mailbox = mailbox_of(node, most=1)
    await mailbox.put(new_envelope("m1"))
    with pytest.raises(InboxFull):
        await mailbox.put(new_envelope("m2"))
    mailbox.acknowledge("ann", "m1")
    await mailbox.put(new_envelope("m2"))
    assert ids() == {"m2"}


async def test_messages_of_too_few_replicas_are_unsafe_also_when_they_are_pushed_again(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.client, "_timeout_s", 0.02)
    mailbox = mailbox_of(node, replicas=1)
    for _ in range(2):
        unsafe = (await mailbox.put(new_envelope())).unsafe
        assert isinstance(unsafe, Unavailable)
        assert "too few replicas" in unsafe.detail
    assert (await mailbox.put(new_envelope("m2"), keep=Keep.NEVER)).kept is False


async def test_with_a_replica_a_message_is_safe_once_the_replica_has_it() -> None:
    with running_valkey() as primary, running_valkey() as replica:
        await asyncio.to_thread(replica.replicate, primary)
        await eventually(lambda: "'state': 'online'" in str(primary.client().info("replication")))
        async with running_node(primary.url) as node:
            mailbox = mailbox_of(node, replicas=1)
            placed = await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n}")) for n in range(10)))
            there = {str(key) for key in replica.command("KEYS", "stomp::inbox::*")}
            assert {inbox_key(f"u{n}") for n, one in enumerate(placed) if one.unsafe is None} <= there
            assert any(one.unsafe is None for one in placed)


async def test_without_redis_nothing_is_put_or_read_and_acknowledgements_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.01)
    async with proxied_node() as (proxy, node), running_mailbox(node) as mailbox:
        await mailbox.put(new_envelope("m1"))
        await mailbox.put(new_envelope("m2"))
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        mailbox.acknowledge("ann", "m1")
        for failing in (mailbox.put(new_envelope("m3")), read(mailbox), mailbox.flush()):
            with pytest.raises(Unavailable):
                await failing
        assert mailbox.unapplied == 1
        assert ids() == {"m1", "m2"}
        await proxy.allow()
        await eventually(lambda: ids() == {"m2"})
        await eventually(lambda: mailbox.unapplied == 0)


async def test_what_was_acknowledged_stays_so_when_a_failover_has_lost_it() -> None:
    async with proxied_node() as (proxy, node), running_mailbox(node) as mailbox:
        await mailbox.put(new_envelope("m1"))
        (entry,) = valkey().command("HVALS", KEY)
        mailbox.acknowledge("ann", "m1")
        await mailbox.flush()
        valkey().command("HSET", KEY, "m1", entry)
        assert [id for id, _ in await read(mailbox)] == ["m1"]
        proxy.cut()
        await eventually(lambda: not ids())


# Reading


async def test_messages_come_in_the_order_in_which_redis_took_them_from_all_nodes(node: ClusterNode) -> None:
    async with running_node(valkey().url, "n2") as other:
        mailboxes = mailbox_of(node, most=100), mailbox_of(other, most=100)
        sent = [f"m{n * 7 % 60:02}" for n in range(60)]
        for n, id in enumerate(sent):
            await mailboxes[n % 2].put(new_envelope(id))
        assert [id for id, _ in await read(mailboxes[0])] == sent


async def test_a_large_inbox_is_read_in_parts(node: ClusterNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_mailbox, "READ_BYTES", 1_000)
    monkeypatch.setattr(redis_mailbox, "PART_BYTES", 1_000)
    mailbox = mailbox_of(node, most=100)
    for n in range(20):
        await mailbox.put(new_envelope(f"m{n:02}", data="x" * (50 if n % 5 else 3_000)))
    before = calls("hmget")
    assert [id for id, _ in await read(mailbox)] == [f"m{n:02}" for n in range(20)]
    assert calls("hmget") - before > 5


async def test_what_goes_away_while_a_large_inbox_is_read_is_passed_over(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_mailbox, "READ_BYTES", 500)
    monkeypatch.setattr(redis_mailbox, "PART_BYTES", 500)
    mailbox = mailbox_of(node)
    for n in range(3):
        await mailbox.put(new_envelope(f"m{n}", data="x" * 300))
    parts = replies.parts

    def parts_after_one_went(sizes: Sequence[tuple[bytes, int]], most_bytes: int) -> Iterable[list[bytes]]:
        valkey().command("HDEL", KEY, "m2")
        return parts(sizes, most_bytes)

    monkeypatch.setattr(redis_mailbox, "parts", parts_after_one_went)
    assert [id for id, _ in await read(mailbox)] == ["m0", "m1"]


async def test_what_was_acknowledged_and_is_there_still_is_passed_over(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    await mailbox.put(new_envelope("m1"))
    mailbox.acknowledge("ann", "m1")
    assert ids() == {"m1"}
    assert await read(mailbox) == []


async def test_the_head_comes_in_its_place_among_what_is_published(node: ClusterNode) -> None:
    """Messages received before the head are in the reply, later ones are not."""
    mailbox = mailbox_of(node, most=1_000)
    await listen(node)
    seen: list[int] = []

    def arrives(channel: str, payload: bytes) -> None:
        seen.append(decode_envelope(parse_node_message(payload).content, 0)[0].seq)

    node.client.listen(arrives)
    async with running_node(valkey().url, "n2") as other:
        theirs = mailbox_of(other, most=1_000)
        now_ms = time.time_ns() // 1_000_000
        reads = [mailbox.read("ann", now_ms, lambda head: seen.append(-head)) for _ in range(20)]
        puts = [theirs.put(new_envelope(f"m{n}")) for n in range(20)]
        await asyncio.gather(*(work for pair in zip(puts, reads, strict=True) for work in pair))
        await eventually(lambda: len(seen) == 40)
    last = 0
    for seq in seen:
        if seq < 0:
            assert -seq == last
        last = max(last, seq)


async def test_what_was_missed_comes_in_parts_that_redis_need_not_buffer_whole(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_mailbox, "READ_BYTES", 1_000)
    monkeypatch.setattr(redis_mailbox, "PAGE_BYTES", 1_000)
    mailbox = mailbox_of(node, most=100)
    for n in range(10):
        await mailbox.put(new_envelope(f"m{n}", data="x" * (50 if n % 5 else 3_000)))
    cursor, parts, more = 0, list[list[str]](), True
    while more:
        answer = await catch_up(mailbox, cursor)
        parts.append([one.message.id for one in answer.envelopes])
        cursor, more = answer.envelopes[-1].seq, answer.more
    assert [id for part in parts for id in part] == [f"m{n}" for n in range(10)]
    assert len(parts) > 3
    assert cursor == answer.head


async def test_what_was_missed_expires_when_it_would_have(node: ClusterNode) -> None:
    """But a persisted message is resent for its whole lifetime."""
    mailbox = mailbox_of(node)
    await mailbox.put(new_envelope("m1"), kind=Kind.NEW)
    stored = new_envelope("m2")
    stored.persisted = True
    await mailbox.put(stored, keep=Keep.NEVER, kind=Kind.STORED)
    put_ms = server_ms()
    await eventually(lambda: server_ms() > put_ms + 50)
    now_ms = time.time_ns() // 1_000_000
    transient, persisted = (await catch_up(mailbox, 0)).envelopes
    assert transient.expires_ms < now_ms + 60_000 - 40
    assert persisted.expires_ms > now_ms + 60_000 - 40


def server_ms() -> int:
    seconds, micros = (int(part) for part in valkey().command("TIME"))
    return seconds * 1_000 + micros // 1_000


async def test_the_history_is_lost_if_a_message_of_it_cannot_be_read(
    node: ClusterNode, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = mailbox_of(node)
    first = await mailbox.put(new_envelope("m1"))
    await mailbox.put(new_envelope("m2"))
    last = await mailbox.put(new_envelope("m3"))
    (entry,) = valkey().command("LRANGE", log_key("ann"), 1, 1)
    valkey().command("LSET", log_key("ann"), 1, entry[1:])
    assert await catch_up(mailbox, first.seq) == Missed(last.seq, is_lost=True)
    assert "a log entry cannot be read" in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"\xff",
        b"{}",
        b'{"id":"g","accepted":"soon","expires_ms":99999999999999}',
        b'{"id":"g","type":"t","receiver":"ann","data":1,"viewed":false,"created":1,"ack_retry_count":0,"ack_last_sent":0,'
        b'"acknowledged":true,"persisted":false,"accepted":[],"expires_ms":99999999999999}',
        b'{"id":"g","type":"t","receiver":"ann","data":1,"viewed":false,"created":"x","ack_retry_count":0,'
        b'"acknowledged":true,"persisted":false,"accepted":1,"expires_ms":Infinity}',
    ],
)
async def test_an_invalid_entry_does_not_stop_the_other_messages(
    node: ClusterNode, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = mailbox_of(node)
    valkey().client().hset(KEY, "g", garbage)
    await mailbox.put(new_envelope("m1"))
    valkey().command("SET", head_key("ann"), "garbage")
    assert await read(mailbox) == [("m1", True)], "where the mark says nothing, it may have been sent"
    assert "cannot be read" in caplog.text


# Acknowledging


async def test_acknowledgements_of_one_moment_are_one_script_for_each_user(node: ClusterNode) -> None:
    mailbox = mailbox_of(node, most=1_000)
    for user in ("ann", "bob"):
        await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=user)) for n in range(200)))
    before = calls("hdel")
    for n in range(200):
        mailbox.acknowledge("ann", f"m{n}")
        mailbox.acknowledge("bob", f"m{n}")
    assert mailbox.unapplied == 400
    await mailbox.flush()
    assert calls("hdel") - before == 2
    assert valkey().command("EXISTS", KEY, inbox_key("bob")) == 0


async def test_an_acknowledgement_that_fails_does_not_keep_those_of_other_users(node: ClusterNode) -> None:
    """For example, one server of a Redis Cluster is away."""
    mailbox = mailbox_of(node, most=1_000)
    valkey().command("SET", inbox_key("bad"), "garbage")
    await mailbox.put(new_envelope("m1"))
    for n in range(write_behind.MAX_ITEMS + 1):
        mailbox.acknowledge("bad", f"m{n}")
    mailbox.acknowledge("ann", "m1")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await mailbox.flush()
    assert ids() == set()
    assert mailbox.unapplied == write_behind.MAX_ITEMS + 1
    valkey().command("DEL", inbox_key("bad"))
    await mailbox.flush()
    assert mailbox.unapplied == 0


async def test_what_waits_by_the_clock_of_redis_has_not_expired_for_a_node_whose_clock_is_wrong(
    node: ClusterNode,
) -> None:
    mailbox = mailbox_of(node)
    envelope = new_envelope("m1")
    await mailbox.put(envelope)
    now_ms = envelope.expires_ms + 90_000
    times = {"created_ms": envelope.message.created, "expires_ms": envelope.expires_ms, "now_ms": now_ms}
    assert await shared_status(mailbox, "ann", "m1", "stored", **times) == "stored"
    valkey().command("HDEL", KEY, "m1")
    times["created_ms"] = now_ms - 1
    assert await shared_status(mailbox, "ann", "m1", "stored", **times) == "expired"


# Descriptions: for push_status, once no node remembers a message


async def test_a_message_is_described_by_what_it_was_and_whether_a_node_heard_it(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    put = new_envelope("m1")
    await mailbox.put(put)
    await listen(node)
    await mailbox.put(new_envelope("m2", acknowledged=False))
    assert await mailbox.find("m1") == Described(
        "ann", "STRING_MSG", put.message.created, put.expires_ms, True, False, False
    )
    found = await mailbox.find("m2")
    assert found is not None
    assert (found.acknowledged, found.is_heard) == (False, True)
    assert await mailbox.find("m3") is None


async def test_where_keys_lie_in_slots_a_description_is_written_beside_the_message(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    node.client.is_sharded = True
    await listen(node)
    put = new_envelope("m1")
    assert (await mailbox.put(put, kind=Kind.GIVEN, digest="d")).known is None
    await mailbox.put(new_envelope("m1"), kind=Kind.GIVEN, digest="d")
    assert await mailbox.find("m1") == Described(
        "ann", "STRING_MSG", put.message.created, put.expires_ms, True, False, True
    )


@pytest.mark.parametrize(
    "garbage", ["", "garbage", "1 2 10 t\n0", "x 2 10 t ann\n0", "1 2 1 t ann\n0", "1 2 10 t ann\nx"]
)
async def test_a_description_of_another_form_describes_nothing(node: ClusterNode, garbage: str) -> None:
    mailbox = mailbox_of(node)
    valkey().command("HSET", DESCRIPTIONS[3], "m1", garbage)
    assert await mailbox.find("m1") is None
    node.client.is_sharded = True
    valkey().command("SET", message_key("m1"), garbage)
    assert await mailbox.find("m1") is None


# Batches


async def test_messages_of_one_moment_share_a_script(node: ClusterNode) -> None:
    mailbox = mailbox_of(node, most=300)
    before = calls("evalsha")
    placed = await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n % 5}")) for n in range(50)))
    assert calls("evalsha") - before == 1
    for user in range(5):
        of_user = placed[user::5]
        assert [one.previous for one in of_user] == [0, *(one.seq for one in of_user[:-1])]


async def test_redis_begins_while_a_long_turn_goes_on(node: ClusterNode) -> None:
    mailbox = mailbox_of(node, most=300, clock=SteppingClock(puts.FLUSH_S / 10))
    before = calls("evalsha")
    placed = await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n % 5}")) for n in range(50)))
    assert calls("evalsha") - before == 5
    assert sorted(placed, key=lambda one: one.seq) == placed


@pytest.mark.parametrize(
    ("users", "count", "size", "scripts"), [(1, 25, 1, 3), (25, 25, 1, 3), (4, 4, 1_200, 2), (1, 4, 1_200, 2)]
)
async def test_a_script_takes_so_many_messages_or_bytes_as_redis_has_time_for(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch, users: int, count: int, size: int, scripts: int
) -> None:
    monkeypatch.setattr(puts, "PUTS_AT_ONCE", 10)
    monkeypatch.setattr(puts, "BYTES_AT_ONCE", 3_000)
    mailbox = mailbox_of(node, most=300)
    before = calls("evalsha")
    envelopes = [new_envelope(f"m{n}", receiver=f"u{n % users}", data="x" * size) for n in range(count)]
    placed = await asyncio.gather(*map(mailbox.put, envelopes))
    assert calls("evalsha") - before == scripts
    assert len({one.seq for one in placed[::users]}) == len(placed[::users])


async def test_where_keys_lie_in_slots_each_user_has_a_script(node: ClusterNode) -> None:
    mailbox = mailbox_of(node, most=300)
    node.client.is_sharded = True
    before = calls("evalsha")
    await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n % 5}")) for n in range(50)))
    for n in range(50):
        mailbox.acknowledge(f"u{n % 5}", f"m{n}")
    assert calls("evalsha") - before == 5
    await mailbox.flush()
    assert calls("evalsha") - before == 10


async def test_keys_of_one_user_that_cannot_be_used_concern_no_other(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    valkey().command("SET", log_key("u2"), "garbage")
    puts = (mailbox.put(new_envelope(f"m{n}", receiver=f"u{n}")) for n in range(5))
    placed = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(placed[2], Unavailable)
    assert "WRONGTYPE" in placed[2].detail
    assert [isinstance(one, Placed) for one in placed] == [True, True, False, True, True]
    assert [valkey().command("LLEN", log_key(f"u{n}")) for n in (0, 1, 3, 4)] == [1, 1, 1, 1]


async def test_after_a_script_flush_each_message_is_accepted_once(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    valkey().command("SCRIPT", "FLUSH")
    placed = await asyncio.gather(*(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n}")) for n in range(5)))
    assert all(one.seq for one in placed)
    assert [valkey().command("LLEN", log_key(f"u{n}")) for n in range(5)] == [1] * 5
    valkey().command("SCRIPT", "FLUSH")
    for n in range(5):
        mailbox.acknowledge(f"u{n}", f"m{n}")
    await mailbox.flush()
    assert valkey().command("EXISTS", *(inbox_key(f"u{n}") for n in range(5))) == 0


async def test_a_message_that_cannot_be_handled_does_not_keep_the_others_from_their_receivers(
    node: ClusterNode, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = mailbox_of(node)
    accepted: list[int] = []

    def fail(placed: Placed) -> None:
        raise RuntimeError("a defect")

    first, second = await asyncio.gather(
        mailbox.put(new_envelope("m1"), on_accepted=fail),
        mailbox.put(new_envelope("m2"), on_accepted=lambda placed: accepted.append(placed.seq)),
    )
    assert accepted == [second.seq]
    assert second.previous == first.seq
    assert "message m1 could not be handled" in caplog.text


async def test_a_cancelled_put_is_accepted_and_handled(node: ClusterNode) -> None:
    mailbox = mailbox_of(node)
    accepted: list[int] = []
    put = asyncio.ensure_future(mailbox.put(new_envelope("m1"), on_accepted=lambda placed: accepted.append(placed.seq)))
    await asyncio.sleep(0)
    put.cancel()
    placed = await mailbox.put(new_envelope("m2"))
    assert [placed.previous] == accepted


async def test_messages_on_their_way_are_unavailable_when_the_connection_ends() -> None:
    async with proxied_node() as (proxy, node):
        mailbox = mailbox_of(node)
        await mailbox.put(new_envelope("m0"))
        proxy.stall()
        puts = [asyncio.ensure_future(mailbox.put(new_envelope(f"m{n}", receiver=f"u{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        proxy.cut()
        for put in puts:
            with pytest.raises(Unavailable):
                await put


async def test_nothing_is_published_where_this_node_alone_listens_unless_that_is_in_doubt(node: ClusterNode) -> None:
    """A script that is sent again may run on another server, on which this node has no subscription."""
    mailbox = mailbox_of(node)
    await listen(node)
    before = calls("publish")
    assert (await mailbox.put(new_envelope("m1"))).others == 0
    assert calls("publish") == before
    valkey().command("SCRIPT", "FLUSH")
    assert (await mailbox.put(new_envelope("m2"))).others == 0
    assert calls("publish") == before + 1
