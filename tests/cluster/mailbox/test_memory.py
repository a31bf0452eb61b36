"""The memory mailbox beyond the contract of all mailboxes."""

import tracemalloc

import pytest

from app.cluster.mailbox import memory as memory_mailbox
from app.cluster.mailbox.memory import OVERHEAD_BYTES, MemoryMailbox, MemoryStore
from app.delivery.mailbox import Keep, Kind, MailboxLimits, Missed, Placed
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.clock import FakeClock

NOW_MS = 1_000_000


def envelope(
    id: str = "m1", receiver: str = "ann", data: str = "hello", ttl_ms: int = 60_000, persisted: bool = False
) -> Envelope:
    message = NotifyMessage(id=id, type="STRING_MSG", receiver=receiver, data=data, viewed=False, created=0)
    return Envelope(message=message, encoder=MessageEncoder(message), expires_ms=NOW_MS + ttl_ms, persisted=persisted)


SIZE = len(envelope().encoder) + OVERHEAD_BYTES


def store_of(**limits: int) -> MemoryStore:
    """Return a mailbox without a log, as a single node has it, unless `limits` contain `window_ms`."""
    return MemoryStore(MailboxLimits(**{"window_ms": 0, **limits}), FakeClock(NOW_MS))


def ids(mailbox: MemoryMailbox, user: str = "ann") -> list[str]:
    return [one.message.id for one in mailbox.read(user, NOW_MS, lambda head: None)]


async def test_its_size_is_that_of_the_messages_and_their_overhead() -> None:
    store = store_of()
    mailbox = MemoryMailbox(store)
    await mailbox.put(envelope("m1"))
    await mailbox.put(envelope("m2", "bob"))
    await mailbox.put(envelope("m2", "bob"))
    assert store.size_bytes == 2 * SIZE
    mailbox.acknowledge("ann", "m1")
    mailbox.acknowledge("ann", "m1")
    assert store.size_bytes == SIZE
    mailbox.expire(NOW_MS + 70_000)
    assert store.size_bytes == 0


async def test_an_id_that_is_put_again_takes_the_place_of_its_older_message() -> None:
    mailbox = MemoryMailbox(store_of())
    for id in ("m1", "m2", "m1"):
        await mailbox.put(envelope(id))
    assert ids(mailbox) == ["m2", "m1"]
    await mailbox.put(envelope("m1", "bob"))
    await mailbox.put(envelope("m1", "bob"))
    assert ids(mailbox, "bob") == ["m1"]


async def test_all_users_together_have_a_limit_and_what_exceeds_it_is_not_stored() -> None:
    store = store_of(max_bytes=2 * SIZE)
    mailbox = MemoryMailbox(store)
    await mailbox.put(envelope("m1"))
    await mailbox.put(envelope("m1", "bob"))
    for keep in (Keep.ALWAYS, Keep.UNHEARD):
        with pytest.raises(Unavailable) as caught:
            await mailbox.put(envelope("m1", "eve"), keep=keep)
        assert caught.value.status == 503
        assert caught.value.retry_after_s is not None
    assert store.size_bytes == 2 * SIZE
    assert ids(mailbox, "eve") == []
    mailbox.acknowledge("bob", "m1")
    await mailbox.put(envelope("m1", "eve"))
    assert ids(mailbox, "eve") == ["m1"]


async def test_a_refused_message_leaves_no_state_of_its_user() -> None:
    store = store_of(max_bytes=0)
    mailbox = MemoryMailbox(store)
    for n in range(100):
        with pytest.raises(Unavailable):
            await mailbox.put(envelope("m", f"user{n}"))
    assert (store._inboxes, store._heads, store._logs) == ({}, {}, {})
    assert len(store._schedule) == 0


async def test_users_who_never_connect_leave_no_state() -> None:
    store = store_of()
    mailbox = MemoryMailbox(store)
    for n in range(100):
        await mailbox.put(envelope("m", f"user{n}", ttl_ms=1_000 + n), kind=Kind.GIVEN, digest="1")
    mailbox.expire(NOW_MS + 2_000)
    assert (store._inboxes, store._known, store._heads, store._logs) == ({}, {}, {}, {})
    assert (len(store._schedule), len(store._known_until)) == (0, 0)


async def test_a_message_waits_for_its_time_to_the_ms() -> None:
    mailbox = MemoryMailbox(store_of())
    await mailbox.put(envelope("short", ttl_ms=1_000))
    await mailbox.put(envelope("long", ttl_ms=2_000))

    def waiting(now_ms: int) -> list[str]:
        return [one.message.id for one in mailbox.read("ann", NOW_MS + now_ms, lambda head: None)]

    assert [waiting(now_ms) for now_ms in (999, 1_000, 1_999, 2_000)] == [["short", "long"], ["long"], ["long"], []]


async def test_an_id_that_is_given_again_after_its_time_is_known_for_its_new_time() -> None:
    clock = FakeClock(NOW_MS)
    mailbox = MemoryMailbox(MemoryStore(MailboxLimits(window_ms=0), clock))
    await mailbox.put(envelope(ttl_ms=1_000), kind=Kind.GIVEN, digest="1")
    clock.advance(1)
    assert (await mailbox.put(envelope(ttl_ms=5_000), kind=Kind.GIVEN, digest="2")).known is None
    mailbox.expire(clock.epoch_ms())
    assert (await mailbox.put(envelope(), kind=Kind.GIVEN, digest="3")).known == "2"


async def test_acknowledgements_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_mailbox, "MAX_REMEMBERED", 3)
    mailbox = MemoryMailbox(store_of())
    for n in range(4):
        mailbox.acknowledge("ann", f"m{n}")
    assert await mailbox.acknowledged("ann", ["m0", "m1", "m2", "m3"]) == [False, True, True, True]


# The order


async def test_a_clock_that_steps_back_does_not_change_the_order() -> None:
    clock = FakeClock(NOW_MS)
    mailbox = MemoryMailbox(MemoryStore(MailboxLimits(), clock))
    first = await mailbox.put(envelope("m1"))
    clock.advance(-60)
    second = await mailbox.put(envelope("m2"))
    assert (second.seq, second.previous) == (first.seq + 1, first.seq)


async def test_what_another_node_hears_comes_with_the_message_before_it() -> None:
    heard: list[tuple[str, int, int]] = []

    def forward(envelope: Envelope, previous: int) -> int:
        heard.append((envelope.message.id, envelope.seq, previous))
        return 1

    mailbox = MemoryMailbox(store_of(window_ms=60_000), forward)
    first = await mailbox.put(envelope("m1"), keep=Keep.UNHEARD)
    second = await mailbox.put(envelope("m2"))
    assert heard == [("m1", first.seq, 0), ("m2", second.seq, first.seq)]
    assert (first.others, first.kept, second.others, second.kept) == (1, False, 1, True)
    assert [(one.message.id, one.was_sent) for one in mailbox.read("ann", NOW_MS, lambda head: None)] == [("m2", True)]


# Without a log, as a single node has it


async def test_without_a_log_watched_users_have_an_order() -> None:
    store = store_of()
    mailbox = MemoryMailbox(store)
    before = await mailbox.put(envelope("m0", "bob"))
    mailbox.watch("ann")
    mailbox.watch("ann")
    placed = await mailbox.put(envelope("m1"), keep=Keep.UNHEARD)
    assert placed == Placed(before.seq + 1, before.seq, 0, kept=False)
    assert (await mailbox.put(envelope("m2"))).previous == placed.seq
    mailbox.unwatch("ann")
    assert (await mailbox.put(envelope("m3"), keep=Keep.UNHEARD)).kept is False
    mailbox.unwatch("ann")
    assert store._heads == store._watchers == {}
    assert (await mailbox.put(envelope("m4"), keep=Keep.UNHEARD)).kept is True


async def test_without_a_log_a_message_that_was_acknowledged_before_says_when() -> None:
    mailbox = MemoryMailbox(store_of())
    mailbox.acknowledge("ann", "m1")
    again = envelope(persisted=True)
    assert (await mailbox.put(again, keep=Keep.NEVER, kind=Kind.AGAIN)).known is None
    assert again.acked_ms == NOW_MS
    assert ids(mailbox) == []


async def test_without_a_log_nothing_can_be_caught_up_with() -> None:
    mailbox = MemoryMailbox(store_of())
    mailbox.watch("ann")
    first = await mailbox.put(envelope("m1"))
    second = await mailbox.put(envelope("m2"))
    answers: list[Missed] = []
    mailbox.catch_up("ann", first.seq, answers.append)
    assert answers == [Missed(second.seq, is_lost=True)]


# The log


async def test_the_log_drops_what_is_older_than_its_window_and_a_cursor_at_its_floor_misses_nothing() -> None:
    clock = FakeClock(NOW_MS)
    mailbox = MemoryMailbox(MemoryStore(MailboxLimits(window_ms=1_000), clock))
    seqs = [(await mailbox.put(envelope("m0"))).seq]
    for n in range(1, 4):
        clock.advance(0.6)
        seqs.append((await mailbox.put(envelope(f"m{n}"))).seq)
    answers: list[Missed] = []
    for cursor in (seqs[0], seqs[1], seqs[2]):
        mailbox.catch_up("ann", cursor, answers.append)
    lost, *known = answers
    assert lost == Missed(seqs[3], is_lost=True)
    assert [[one.message.id for one in answer.envelopes] for answer in known] == [["m2", "m3"], ["m3"]]


async def test_a_user_with_a_log_keeps_the_head_without_sessions() -> None:
    mailbox = MemoryMailbox(store_of(window_ms=60_000))
    mailbox.watch("ann")
    placed = await mailbox.put(envelope("m1"))
    mailbox.unwatch("ann")
    assert (await mailbox.put(envelope("m2"))).previous == placed.seq


async def test_the_accounted_size_covers_the_memory_that_it_takes() -> None:
    count = 2_000
    store = store_of(max_messages=count)
    mailbox = MemoryMailbox(store)
    tracemalloc.start()
    try:
        for n in range(count):
            await mailbox.put(envelope(f"ntf_{n:032}", f"user{n}").without_data())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 1.25 * store.size_bytes


async def test_the_default_limits_are_those_of_the_service() -> None:
    assert MailboxLimits() == MailboxLimits(
        max_messages=300, max_bytes=268_435_456, window_ms=60_000, remember_ms=600_000
    )


async def test_a_persisted_message_waits_here_too_until_it_is_acknowledged_or_its_time_is_over() -> None:
    """The archive may be away when a session subscribes, and newer messages must not overtake older ones."""
    clock = FakeClock(NOW_MS)
    store = MemoryStore(MailboxLimits(window_ms=0, max_messages=1), clock)
    mailbox = MemoryMailbox(store)
    for id in ("p1", "p2", "p3"):
        await mailbox.put(envelope(id, persisted=True), keep=Keep.NEVER)
    await mailbox.put(envelope("m1"))
    assert ids(mailbox) == ["p1", "p2", "p3", "m1"]
    mailbox.acknowledge("ann", "p2")
    mailbox.acknowledge("ann", "m1")
    clock.advance(memory_mailbox.STORED_MS / 1000)
    assert mailbox.read("ann", clock.epoch_ms(), lambda head: None) == []
    mailbox.expire(clock.epoch_ms() + 1_000)
    assert (store._stored, store.size_bytes, len(store._stored_until)) == ({}, 0, 0)


async def test_without_room_a_persisted_message_is_left_to_the_archive() -> None:
    store = store_of(max_bytes=10)
    await MemoryMailbox(store).put(envelope("p1", persisted=True), keep=Keep.NEVER)
    assert store.size_bytes == 0
