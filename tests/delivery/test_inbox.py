"""Of the inbox in memory, what is not in the contract of all inboxes."""

import tracemalloc

import pytest

from app.delivery.inbox import OVERHEAD_BYTES, InboxLimits, MemoryInbox
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage


def envelope(id: str = "m1", receiver: str = "ann", data: str = "hello", expires_ms: int = 60_000) -> Envelope:
    message = NotifyMessage(id=id, type="STRING_MSG", receiver=receiver, data=data, viewed=False, created=0)
    return Envelope(message=message, encoder=MessageEncoder(message), expires_ms=expires_ms)


SIZE = len(envelope().encoder) + OVERHEAD_BYTES


async def test_its_size_is_that_of_the_messages_and_their_overhead() -> None:
    inbox = MemoryInbox(InboxLimits())
    await inbox.put(envelope("m1"))
    await inbox.put(envelope("m2", "bob"))
    await inbox.put(envelope("m2", "bob"))
    assert inbox.size_bytes == 2 * SIZE
    inbox.remove("ann", "m1")
    inbox.remove("ann", "m1")
    assert inbox.size_bytes == SIZE
    inbox.expire(70_000)
    assert inbox.size_bytes == 0


async def test_all_users_together_have_a_limit_and_what_exceeds_it_is_not_stored() -> None:
    inbox = MemoryInbox(InboxLimits(max_bytes=2 * SIZE))
    await inbox.put(envelope("m1"))
    await inbox.put(envelope("m1", "bob"))
    with pytest.raises(Unavailable) as caught:
        await inbox.put(envelope("m1", "eve"))
    assert caught.value.status == 503
    assert caught.value.retry_after_s is not None
    assert inbox.size_bytes == 2 * SIZE
    assert await inbox.pending("eve", 0) == ()
    inbox.remove("bob", "m1")
    await inbox.put(envelope("m1", "eve"))
    assert len(await inbox.pending("eve", 0)) == 1


async def test_a_user_who_was_refused_leaves_no_trace() -> None:
    inbox = MemoryInbox(InboxLimits(max_bytes=0))
    for n in range(100):
        with pytest.raises(Unavailable):
            await inbox.put(envelope("m", f"user{n}"))
    assert inbox._users == {}
    assert len(inbox._schedule) == 0


async def test_users_who_are_away_and_never_come_leave_no_trace() -> None:
    inbox = MemoryInbox(InboxLimits())
    for n in range(100):
        await inbox.put(envelope("m", f"user{n}", expires_ms=1_000 + n))
    inbox.expire(2_000)
    assert inbox._users == {}
    assert len(inbox._schedule) == 0


async def test_the_accounted_size_covers_the_memory_that_it_takes() -> None:
    count = 2_000
    inbox = MemoryInbox(InboxLimits(max_messages=count))
    tracemalloc.start()
    try:
        for n in range(count):
            await inbox.put(envelope(f"ntf_{n:032}", f"user{n}").without_data())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 1.25 * inbox.size_bytes


async def test_the_default_limits_are_those_of_the_service() -> None:
    assert InboxLimits() == InboxLimits(max_messages=300, max_bytes=268_435_456)
