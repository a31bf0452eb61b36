"""What every inbox does."""

from collections.abc import AsyncIterator

import pytest

from app.delivery.inbox import Inbox, InboxLimits, Keep
from app.errors import InboxFull
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.clock import FakeClock
from tests.contracts.implementations import INBOXES

MAX_MESSAGES = 5
NOW_MS = 4_000_000_000_000  # later than any clock: what lives by the clock of a server does not end during a test


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_MS)


@pytest.fixture(params=INBOXES.values(), ids=[*INBOXES])
async def inbox(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Inbox]:
    async with request.param(InboxLimits(max_messages=MAX_MESSAGES), clock) as inbox:
        yield inbox


def envelope(
    id: str = "m1", *, receiver: str = "ann", data: str = "hello", ttl_ms: int = 60_000, acknowledged: bool = True
) -> Envelope:
    message = NotifyMessage(id=id, type="STRING_MSG", receiver=receiver, data=data, viewed=False, created=NOW_MS)
    return Envelope(
        message=message, encoder=MessageEncoder(message), expires_ms=NOW_MS + ttl_ms, acknowledged=acknowledged
    )


async def ids(inbox: Inbox, receiver: str = "ann", now_ms: int = NOW_MS) -> list[str]:
    return [envelope.message.id for envelope in await inbox.pending(receiver, now_ms)]


async def test_a_new_inbox_is_empty(inbox: Inbox) -> None:
    assert await ids(inbox) == []
    inbox.expire(NOW_MS + 10_000_000)


async def test_what_was_put_is_pending_as_it_was(inbox: Inbox) -> None:
    put = envelope(acknowledged=False)
    await inbox.put(put)
    (pending,) = await inbox.pending("ann", NOW_MS)
    assert (pending.message.id, pending.message.type, pending.receiver) == ("m1", "STRING_MSG", "ann")
    assert (pending.message.created, pending.expires_ms, pending.acknowledged) == (NOW_MS, put.expires_ms, False)
    assert pending.encoder.encode(ack_retry_count=1, ack_last_sent=2) == put.encoder.encode(
        ack_retry_count=1, ack_last_sent=2
    )


async def test_messages_come_oldest_first_whatever_their_ids_and_times_to_live(inbox: Inbox) -> None:
    for n, id in enumerate(("c", "a", "b")):
        await inbox.put(envelope(id, ttl_ms=90_000 - n * 1_000))
    assert await ids(inbox) == ["c", "a", "b"]


async def test_looking_takes_nothing_out(inbox: Inbox) -> None:
    await inbox.put(envelope())
    assert await ids(inbox) == await ids(inbox) == ["m1"]


async def test_users_do_not_see_each_others_messages(inbox: Inbox) -> None:
    await inbox.put(envelope("m1"))
    await inbox.put(envelope("m1", receiver="bob", data="other"))
    inbox.remove("ann", "m1")
    assert await ids(inbox) == []
    assert await ids(inbox, "bob") == ["m1"]


async def test_an_id_that_is_there_already_stays_as_it_is_and_keeps_its_place(inbox: Inbox) -> None:
    await inbox.put(envelope("m1", data="first"))
    await inbox.put(envelope("m2"))
    placed = await inbox.put(envelope("m1", data="second", ttl_ms=1))
    assert placed.known is not None
    assert b'"first"' in placed.known.encoder.content
    first, _ = await inbox.pending("ann", NOW_MS + 10)
    assert b'"first"' in first.encoder.content


async def test_what_was_removed_is_pending_no_more(inbox: Inbox) -> None:
    for id in ("m1", "m2", "m3"):
        await inbox.put(envelope(id))
    inbox.remove("ann", "m2")
    assert await ids(inbox) == ["m1", "m3"]


async def test_removing_what_is_not_there_is_no_error(inbox: Inbox) -> None:
    inbox.remove("ann", "m1")
    await inbox.put(envelope())
    inbox.remove("ann", "m2")
    inbox.remove("bob", "m1")
    assert await ids(inbox) == ["m1"]


async def test_what_was_removed_can_be_put_again(inbox: Inbox) -> None:
    await inbox.put(envelope("m1", data="first"))
    inbox.remove("ann", "m1")
    await inbox.put(envelope("m1", data="second"))
    (pending,) = await inbox.pending("ann", NOW_MS)
    assert b'"second"' in pending.encoder.content


async def test_what_has_expired_is_pending_no_more(inbox: Inbox) -> None:
    await inbox.put(envelope("short", ttl_ms=1_000))
    await inbox.put(envelope("long", ttl_ms=2_000))
    assert await ids(inbox, now_ms=NOW_MS + 999) == ["short", "long"]
    assert await ids(inbox, now_ms=NOW_MS + 1_000) == ["long"]
    assert await ids(inbox, now_ms=NOW_MS + 2_000) == []


async def test_expiring_drops_nothing_that_has_not_expired(inbox: Inbox) -> None:
    for id, ttl_ms in (("a", 1_000), ("b", 5_000), ("c", 1_000)):
        await inbox.put(envelope(id, ttl_ms=ttl_ms))
    inbox.expire(NOW_MS + 900)
    assert await ids(inbox) == ["a", "b", "c"]
    inbox.expire(NOW_MS + 2_000)
    assert await ids(inbox, now_ms=NOW_MS + 2_000) == ["b"]


async def test_removed_messages_do_not_expire_and_those_put_again_do_at_their_new_time(inbox: Inbox) -> None:
    await inbox.put(envelope(ttl_ms=1_000))
    inbox.remove("ann", "m1")
    await inbox.put(envelope(ttl_ms=9_000))
    inbox.expire(NOW_MS + 2_000)
    assert await ids(inbox, now_ms=NOW_MS + 8_999) == ["m1"]
    inbox.expire(NOW_MS + 10_000)
    assert await ids(inbox, now_ms=NOW_MS + 10_000) == []


async def test_a_full_inbox_refuses_and_stores_nothing(inbox: Inbox) -> None:
    for n in range(MAX_MESSAGES):
        await inbox.put(envelope(f"m{n}"))
    with pytest.raises(InboxFull) as caught:
        await inbox.put(envelope("more"))
    assert (caught.value.status, caught.value.slug) == (429, "inbox-full")
    assert caught.value.retry_after_s is not None
    assert await ids(inbox) == [f"m{n}" for n in range(MAX_MESSAGES)]


async def test_a_full_inbox_takes_an_id_that_it_has(inbox: Inbox) -> None:
    for n in range(MAX_MESSAGES):
        await inbox.put(envelope(f"m{n}"))
    await inbox.put(envelope("m0"))
    assert len(await ids(inbox)) == MAX_MESSAGES


async def test_the_full_inbox_of_one_user_is_no_concern_of_another(inbox: Inbox) -> None:
    for n in range(MAX_MESSAGES):
        await inbox.put(envelope(f"m{n}"))
    await inbox.put(envelope(receiver="bob"))
    assert await ids(inbox, "bob") == ["m1"]


@pytest.mark.parametrize("by", ["removing", "expiring"])
async def test_a_full_inbox_takes_more_after(inbox: Inbox, clock: FakeClock, by: str) -> None:
    for n in range(MAX_MESSAGES):
        await inbox.put(envelope(f"m{n}", ttl_ms=1_000 if n == 2 else 60_000))
    if by == "removing":
        inbox.remove("ann", "m2")
    else:
        clock.advance(2)
        inbox.expire(clock.epoch_ms())
    await inbox.put(envelope("more"))
    assert await ids(inbox, now_ms=clock.epoch_ms()) == ["m0", "m1", "m3", "m4", "more"]


async def test_what_is_kept_elsewhere_is_not_kept_here(inbox: Inbox) -> None:
    placed = await inbox.put(envelope(), keep=Keep.NEVER)
    assert (placed.kept, placed.others, placed.known) == (False, 0, None)
    assert await ids(inbox) == []


async def test_what_nobody_heard_is_kept(inbox: Inbox) -> None:
    placed = await inbox.put(envelope(acknowledged=False), keep=Keep.UNHEARD)
    assert (placed.kept, placed.others) == (True, 0)
    assert await ids(inbox) == ["m1"]


async def test_large_messages_are_read_in_their_order(inbox: Inbox) -> None:
    for n in range(MAX_MESSAGES):
        await inbox.put(envelope(f"m{n}", data=f"{n}" * 400_000))
    pending = await inbox.pending("ann", NOW_MS)
    assert [(one.message.id, len(one.encoder) > 400_000) for one in pending] == [
        (f"m{n}", True) for n in range(MAX_MESSAGES)
    ]


@pytest.mark.parametrize("user", ["}brace", "{a}", "消息", "a::b", "x" * 128, "a b"])
async def test_users_of_all_names_have_an_inbox(inbox: Inbox, user: str) -> None:
    await inbox.put(envelope(receiver=user))
    assert await ids(inbox, user) == ["m1"]
    inbox.remove(user, "m1")
    assert await ids(inbox, user) == []
