"""What the inbox in Redis does beside what every inbox does."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from app import write_behind
from app.clock import SystemClock
from app.cluster.keys import inbox_key, read_mark_key, user_channel
from app.cluster.node import ClusterNode
from app.delivery import redis_inbox
from app.delivery.inbox import InboxLimits, Keep
from app.delivery.redis_inbox import RedisInbox
from app.errors import InboxFull, Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
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


def inbox_of(node: ClusterNode, *, most: int = 5, replicas: int = 0) -> RedisInbox:
    limits = InboxLimits(max_messages=most)
    return RedisInbox(node.client, limits=limits, clock=SystemClock(), node=node.name, replicas=replicas)


@asynccontextmanager
async def running_inbox(node: ClusterNode) -> AsyncIterator[RedisInbox]:
    inbox = inbox_of(node)
    async with running(inbox.run):
        yield inbox


@pytest.fixture
async def node() -> AsyncIterator[ClusterNode]:
    with fresh_database() as url:
        async with running_node(url) as node:
            yield node


async def listen(node: ClusterNode) -> None:
    if (pending := node.client.channels.subscribe(user_channel("ann"))) is not None:
        await pending


async def pending(inbox: RedisInbox, receiver: str = "ann") -> list[tuple[str, bool]]:
    now_ms = time.time_ns() // 1_000_000
    return [(envelope.message.id, envelope.was_sent) for envelope in await inbox.pending(receiver, now_ms)]


def ids() -> set[str]:
    return {str(id) for id in valkey().command("HKEYS", KEY)}


# Putting


async def test_the_nodes_that_listen_are_counted_without_this_one(node: ClusterNode) -> None:
    inbox = inbox_of(node)
    assert (await inbox.put(new_envelope("m1"))).others == 0
    async with running_node(valkey().url, "n2") as other:
        await listen(other)
        assert (await inbox.put(new_envelope("m2"))).others == 1
        await listen(node)
        assert (await inbox.put(new_envelope("m3"))).others == 1


async def test_what_somebody_hears_is_not_kept_where_only_the_unheard_is(node: ClusterNode) -> None:
    inbox = inbox_of(node)
    async with running_node(valkey().url, "n2") as other:
        await listen(other)
        placed = await inbox.put(new_envelope(acknowledged=False), keep=Keep.UNHEARD)
        assert (placed.others, placed.kept) == (1, False)
        assert ids() == set()


async def test_what_nobody_heard_and_nobody_read_was_not_sent(node: ClusterNode) -> None:
    inbox = inbox_of(node)
    await inbox.put(new_envelope("m1"))
    await listen(node)
    await inbox.put(new_envelope("m2"))
    node.client.channels.unsubscribe(user_channel("ann"))
    assert await pending(inbox) == [("m1", False), ("m2", True)]
    await inbox.put(new_envelope("m3"))
    assert await pending(inbox) == [("m1", True), ("m2", True), ("m3", False)]
    assert 0 < int(valkey().command("PTTL", read_mark_key("ann"))) <= 60_000


async def test_an_id_that_was_removed_a_moment_ago_is_removed_before_it_is_put(node: ClusterNode) -> None:
    inbox = inbox_of(node)
    await inbox.put(new_envelope(data="first"))
    inbox.remove("ann", "m1")
    assert (await inbox.put(new_envelope(data="second"))).known is None
    assert inbox.unapplied == 0
    assert await pending(inbox) == [("m1", False)]


async def test_a_full_inbox_counts_what_was_removed_a_moment_ago_as_gone(node: ClusterNode) -> None:
    inbox = inbox_of(node, most=1)
    await inbox.put(new_envelope("m1"))
    with pytest.raises(InboxFull):
        await inbox.put(new_envelope("m2"))
    inbox.remove("ann", "m1")
    await inbox.put(new_envelope("m2"))
    assert ids() == {"m2"}


async def test_messages_of_too_few_replicas_are_unsafe_also_when_they_are_pushed_again(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.client, "_timeout_s", 0.02)
    inbox = inbox_of(node, replicas=1)
    for _ in range(2):
        unsafe = (await inbox.put(new_envelope())).unsafe
        assert isinstance(unsafe, Unavailable)
        assert "too few replicas" in unsafe.detail
    assert (await inbox.put(new_envelope("m2"), keep=Keep.NEVER)).kept is False


async def test_with_a_replica_a_message_is_safe_once_the_replica_has_it() -> None:
    with running_valkey() as primary, running_valkey() as replica:
        await asyncio.to_thread(replica.replicate, primary)
        await eventually(lambda: "'state': 'online'" in str(primary.client().info("replication")))
        async with running_node(primary.url) as node:
            inbox = inbox_of(node, replicas=1)
            placed = await asyncio.gather(*(inbox.put(new_envelope(f"m{n}", receiver=f"u{n}")) for n in range(10)))
            there = {str(key) for key in replica.command("KEYS", "stomp::inbox::*")}
            assert {inbox_key(f"u{n}") for n, one in enumerate(placed) if one.unsafe is None} <= there
            assert any(one.unsafe is None for one in placed)


async def test_without_redis_nothing_is_put_or_read_and_removals_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "RETRY_S", 0.01)
    async with proxied_node() as (proxy, node), running_inbox(node) as inbox:
        await inbox.put(new_envelope("m1"))
        await inbox.put(new_envelope("m2"))
        proxy.refuse()
        proxy.cut()
        await eventually(lambda: not node.client.is_up)
        inbox.remove("ann", "m1")
        for failing in (inbox.put(new_envelope("m3")), inbox.pending("ann", 0), inbox.flush()):
            with pytest.raises(Unavailable):
                await failing
        assert inbox.unapplied == 1
        assert ids() == {"m1", "m2"}
        await proxy.allow()
        await eventually(lambda: ids() == {"m2"})
        await eventually(lambda: inbox.unapplied == 0)


async def test_what_was_removed_stays_removed_when_a_failover_has_lost_it() -> None:
    async with proxied_node() as (proxy, node), running_inbox(node) as inbox:
        await inbox.put(new_envelope("m1"))
        (entry,) = valkey().command("HVALS", KEY)
        inbox.remove("ann", "m1")
        await inbox.flush()
        valkey().command("HSET", KEY, "m1", entry)
        assert [one.message.id for one in await inbox.pending("ann", 0)] == ["m1"]
        proxy.cut()
        await eventually(lambda: not ids())


# Reading


async def test_messages_come_in_the_order_in_which_redis_took_them_from_all_nodes(node: ClusterNode) -> None:
    async with running_node(valkey().url, "n2") as other:
        inboxes = inbox_of(node, most=100), inbox_of(other, most=100)
        sent = [f"m{n * 7 % 60:02}" for n in range(60)]
        for n, id in enumerate(sent):
            await inboxes[n % 2].put(new_envelope(id))
        assert [id for id, _ in await pending(inboxes[0])] == sent


async def test_a_large_inbox_is_read_in_parts(node: ClusterNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_inbox, "PART_BYTES", 1_000)
    inbox = inbox_of(node, most=100)
    for n in range(20):
        await inbox.put(new_envelope(f"m{n:02}", data="x" * (50 if n % 5 else 3_000)))
    before = calls("hmget")
    assert [id for id, _ in await pending(inbox)] == [f"m{n:02}" for n in range(20)]
    assert calls("hmget") - before > 5


async def test_what_goes_away_while_a_large_inbox_is_read_is_passed_over(
    node: ClusterNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_inbox, "PART_BYTES", 500)
    inbox = inbox_of(node)
    for n in range(3):
        await inbox.put(new_envelope(f"m{n}", data="x" * 300))
    parts = redis_inbox._parts

    def parts_after_one_went(sizes: Sequence[tuple[bytes, int]]) -> Iterable[list[bytes]]:
        valkey().command("HDEL", KEY, "m2")
        return parts(sizes)

    monkeypatch.setattr(redis_inbox, "_parts", parts_after_one_went)
    assert [id for id, _ in await pending(inbox)] == ["m0", "m1"]


async def test_what_was_removed_and_is_there_still_is_passed_over(node: ClusterNode) -> None:
    inbox = inbox_of(node)
    await inbox.put(new_envelope("m1"))
    inbox.remove("ann", "m1")
    assert ids() == {"m1"}
    assert await pending(inbox) == []


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
async def test_what_is_no_message_does_not_keep_the_others_from_their_receiver(
    node: ClusterNode, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = inbox_of(node)
    valkey().client().hset(KEY, "g", garbage)
    valkey().command("SET", read_mark_key("ann"), "garbage")
    await inbox.put(new_envelope("m1"))
    assert await pending(inbox) == [("m1", False)]
    assert "cannot be read" in caplog.text


# Removing


async def test_removals_of_one_moment_are_one_command_for_each_user(node: ClusterNode) -> None:
    inbox = inbox_of(node, most=1_000)
    for user in ("ann", "bob"):
        await asyncio.gather(*(inbox.put(new_envelope(f"m{n}", receiver=user)) for n in range(200)))
    before = calls("hdel")
    for n in range(200):
        inbox.remove("ann", f"m{n}")
        inbox.remove("bob", f"m{n}")
    assert inbox.unapplied == 400
    await inbox.flush()
    assert calls("hdel") - before == 2
    assert valkey().command("EXISTS", KEY, inbox_key("bob")) == 0


async def test_a_removal_that_fails_does_not_keep_those_of_other_users(node: ClusterNode) -> None:
    """As when one server of a Redis Cluster is away."""
    inbox = inbox_of(node, most=1_000)
    valkey().command("SET", inbox_key("bad"), "garbage")
    await inbox.put(new_envelope("m1"))
    for n in range(write_behind.MAX_ITEMS + 1):
        inbox.remove("bad", f"m{n}")
    inbox.remove("ann", "m1")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        await inbox.flush()
    assert ids() == set()
    assert inbox.unapplied == write_behind.MAX_ITEMS + 1
    valkey().command("DEL", inbox_key("bad"))
    await inbox.flush()
    assert inbox.unapplied == 0
