"""The contract of all mailboxes, seen from one node and from two."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from app.delivery.mailbox import Fate, Keep, Kind, Mailbox, MailboxLimits, Missed, Placed
from app.errors import InboxFull
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.clock import FakeClock
from tests.contracts.implementations import MAILBOXES, MailboxesFactory
from tests.eventually import eventually

MAX_MESSAGES = 5
NOW_MS = 4_000_000_000_000  # later than any clock, so that server-side TTLs do not end during a test


@dataclass
class Nodes:
    """Two views of one mailbox: `here` puts and acknowledges, `there` reads. They may be the same node."""

    here: Mailbox
    there: Mailbox
    clock: FakeClock

    async def put(
        self,
        id: str = "m1",
        *,
        to: str = "ann",
        data: str = "hello",
        ttl_ms: int = 60_000,
        ack: bool = True,
        persisted: bool = False,
        keep: Keep | None = None,
        kind: Kind = Kind.NEW,
        digest: str = "",
    ) -> Placed:
        message = NotifyMessage(id=id, type="STRING_MSG", receiver=to, data=data, viewed=False, created=NOW_MS)
        envelope = Envelope(message, MessageEncoder(message), self.clock.epoch_ms() + ttl_ms, ack, persisted)
        keep = keep or (Keep.NEVER if persisted else Keep.ALWAYS)
        accepted: list[tuple[int, Placed]] = []
        placed = await self.here.put(
            envelope,
            keep=keep,
            kind=kind,
            digest=digest,
            on_accepted=lambda placed: accepted.append((envelope.seq, placed)),
        )
        assert accepted == ([] if placed.known is not None else [(placed.seq, placed)])
        return placed

    async def pass_time(self, seconds: float) -> None:
        """Advance the clock of the nodes, and wait as long for that of a server."""
        self.clock.advance(seconds)
        await asyncio.sleep(seconds)
        self.there.expire(self.clock.epoch_ms())

    async def put_many(self, *ids: str) -> list[int]:
        """Put messages and return their seqs."""
        return [(await self.put(id)).seq for id in ids]

    async def acknowledge(self, *ids: str, user: str = "ann") -> None:
        for id in ids:
            self.here.acknowledge(user, id)
        for id in ids:
            if (confirmation := self.here.confirmation(user, id)) is not None:
                await confirmation
            assert self.here.confirmation(user, id) is None

    async def read(self, user: str = "ann") -> tuple[Sequence[Envelope], int]:
        """Return the waiting messages and the head."""
        heads: list[int] = []
        reading = self.there.read(user, self.clock.epoch_ms(), heads.append)
        envelopes = reading if isinstance(reading, Sequence) else await reading
        (head,) = heads
        return envelopes, head

    async def waiting(self, user: str = "ann") -> list[str]:
        envelopes, _ = await self.read(user)
        return [envelope.message.id for envelope in envelopes]

    async def catch_up(self, cursor: int, user: str = "ann") -> Missed:
        answers: list[Missed] = []
        asking = self.there.catch_up(user, cursor, answers.append)
        if asking is not None:
            await asking
        (answer,) = answers
        return answer

    async def missed(self, cursor: int) -> list[str]:
        """Catch up in any number of parts."""
        ids: list[str] = []
        more = True
        while more:
            answer = await self.catch_up(cursor)
            assert not answer.is_lost
            assert not answer.is_new
            ids += [envelope.message.id for envelope in answer.envelopes]
            more = answer.more
            cursor = answer.envelopes[-1].seq if more else answer.head
        return ids


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_MS)


@asynccontextmanager
async def open_nodes(
    factory: MailboxesFactory, count: int, clock: FakeClock, *, window_ms: int = 60_000
) -> AsyncIterator[Nodes]:
    async with factory(count, MailboxLimits(max_messages=MAX_MESSAGES, window_ms=window_ms), clock) as mailboxes:
        yield Nodes(mailboxes[0], mailboxes[-1], clock)


BOTH = [(factory, count) for factory in MAILBOXES.values() for count in (1, 2)]
NAMES = [f"{name}-{count}" for name in MAILBOXES for count in (1, 2)]


@pytest.fixture(params=BOTH, ids=NAMES)
async def nodes(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Nodes]:
    factory, count = request.param
    async with open_nodes(factory, count, clock) as nodes:
        yield nodes


@pytest.fixture(params=BOTH, ids=NAMES)
async def forgetful(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Nodes]:
    """Yield nodes whose log keeps messages for 50 ms."""
    factory, count = request.param
    async with open_nodes(factory, count, clock, window_ms=50) as nodes:
        yield nodes


# Waiting messages


async def test_a_new_mailbox_is_empty(nodes: Nodes) -> None:
    assert await nodes.read() == ([], 0)
    nodes.there.expire(NOW_MS + 10_000_000)


async def test_a_message_waits_as_it_was_put(nodes: Nodes) -> None:
    placed = await nodes.put(ack=False)
    (waiting,), head = await nodes.read()
    assert (waiting.message.id, waiting.message.type, waiting.receiver) == ("m1", "STRING_MSG", "ann")
    assert waiting.message.created == NOW_MS
    assert NOW_MS + 50_000 < waiting.expires_ms <= NOW_MS + 60_000
    assert (waiting.acknowledged, waiting.persisted) == (False, False)
    assert waiting.seq == head == placed.seq
    assert b'"hello"' in waiting.encoder.encode(ack_retry_count=1, ack_last_sent=2)


async def test_messages_come_oldest_first_whatever_their_ids_and_times_to_live(nodes: Nodes) -> None:
    for n, id in enumerate(("c", "a", "b")):
        await nodes.put(id, ttl_ms=90_000 - n * 1_000)
    assert await nodes.waiting() == ["c", "a", "b"]


async def test_reading_takes_nothing_out_and_marks_it_as_sent(nodes: Nodes) -> None:
    await nodes.put()
    assert [(one.message.id, one.was_sent) for one in (await nodes.read())[0]] == [("m1", False)]
    assert [(one.message.id, one.was_sent) for one in (await nodes.read())[0]] == [("m1", True)]


async def test_users_do_not_see_each_others_messages(nodes: Nodes) -> None:
    await nodes.put("m1")
    await nodes.put("m1", to="bob", data="other")
    await nodes.acknowledge("m1")
    assert await nodes.waiting() == []
    assert await nodes.waiting("bob") == ["m1"]


async def test_an_acknowledged_message_does_not_wait(nodes: Nodes) -> None:
    await nodes.put_many("m1", "m2", "m3")
    await nodes.acknowledge("m2")
    assert await nodes.waiting() == ["m1", "m3"]


async def test_acknowledging_an_unknown_id_is_no_error(nodes: Nodes) -> None:
    await nodes.acknowledge("m1", "m1")
    await nodes.put("m3")
    await nodes.acknowledge("m2")
    await nodes.acknowledge("m3", user="bob")
    assert await nodes.waiting() == ["m3"]


async def test_an_expired_message_does_not_wait(nodes: Nodes) -> None:
    for id, ttl_ms in (("a", 300), ("b", 60_000), ("c", 300)):
        await nodes.put(id, ttl_ms=ttl_ms)
    nodes.there.expire(nodes.clock.epoch_ms())
    assert await nodes.waiting() == ["a", "b", "c"]
    await nodes.pass_time(0.301)
    assert await nodes.waiting() == ["b"]


async def test_what_is_persisted_waits_in_the_log_until_it_is_acknowledged(nodes: Nodes) -> None:
    await nodes.put("m1", persisted=True)
    await nodes.put("m2")
    await nodes.put("m3", persisted=True)
    envelopes, _ = await nodes.read()
    assert [(one.message.id, one.persisted) for one in envelopes] == [("m1", True), ("m2", False), ("m3", True)]
    await nodes.acknowledge("m1")
    assert await nodes.waiting() == ["m2", "m3"]


async def test_what_is_kept_elsewhere_is_in_the_log_alone(nodes: Nodes) -> None:
    placed = await nodes.put(ack=False, keep=Keep.NEVER)
    assert (placed.kept, placed.others, placed.known) == (False, 0, None)
    assert await nodes.waiting() == []
    assert await nodes.missed(0) == ["m1"]


async def test_what_no_node_heard_is_kept(nodes: Nodes) -> None:
    placed = await nodes.put(ack=False, keep=Keep.UNHEARD)
    assert (placed.kept, placed.others) == (True, 0)
    assert await nodes.waiting() == ["m1"]


async def test_large_messages_are_read_in_their_order(nodes: Nodes) -> None:
    for n in range(MAX_MESSAGES):
        await nodes.put(f"m{n}", data=f"{n}" * 400_000)
    envelopes, head = await nodes.read()
    assert [(one.message.id, len(one.encoder) > 400_000) for one in envelopes] == [
        (f"m{n}", True) for n in range(MAX_MESSAGES)
    ]
    assert head == envelopes[-1].seq


@pytest.mark.parametrize("user", ["}brace", "{a}", "消息", "a::b", "x" * 128, "a b"])
async def test_users_of_all_names_have_a_mailbox(nodes: Nodes, user: str) -> None:
    placed = await nodes.put(to=user)
    assert await nodes.waiting(user) == ["m1"]
    await nodes.acknowledge("m1", user=user)
    assert await nodes.waiting(user) == []
    assert [one.message.id for one in (await nodes.catch_up(0, user)).envelopes] == ["m1"]
    assert await nodes.catch_up(placed.seq, user) == Missed(placed.seq)


# Limits


async def test_a_full_mailbox_refuses_and_stores_nothing(nodes: Nodes) -> None:
    seqs = await nodes.put_many(*(f"m{n}" for n in range(MAX_MESSAGES)))
    for keep in (Keep.ALWAYS, Keep.UNHEARD):
        with pytest.raises(InboxFull) as caught:
            await nodes.put("more", keep=keep, kind=Kind.GIVEN, digest="1")
        assert (caught.value.status, caught.value.slug) == (429, "inbox-full")
        assert caught.value.retry_after_s is not None
    envelopes, head = await nodes.read()
    assert [one.message.id for one in envelopes] == [f"m{n}" for n in range(MAX_MESSAGES)]
    assert head == seqs[-1]
    assert await nodes.missed(seqs[-2]) == ["m4"]
    await nodes.acknowledge("m0")
    placed = await nodes.put("more", kind=Kind.GIVEN, digest="2")
    assert (placed.known, placed.previous) == (None, seqs[-1])


async def test_a_full_mailbox_takes_what_it_need_not_keep(nodes: Nodes) -> None:
    await nodes.put_many(*(f"m{n}" for n in range(MAX_MESSAGES)))
    assert not (await nodes.put("stored", persisted=True)).kept


async def test_the_full_mailbox_of_one_user_does_not_affect_others(nodes: Nodes) -> None:
    await nodes.put_many(*(f"m{n}" for n in range(MAX_MESSAGES)))
    await nodes.put(to="bob")
    assert await nodes.waiting("bob") == ["m1"]


async def test_what_was_acknowledged_does_not_count_though_the_log_keeps_it(nodes: Nodes) -> None:
    for n in range(3 * MAX_MESSAGES):
        await nodes.put(f"m{n}")
        await nodes.acknowledge(f"m{n}")
    assert len(await nodes.missed(0)) == 3 * MAX_MESSAGES
    assert await nodes.waiting() == []


async def test_a_full_mailbox_takes_more_after_a_message_has_expired(nodes: Nodes) -> None:
    for n in range(MAX_MESSAGES):
        await nodes.put(f"m{n}", ttl_ms=50 if n == 2 else 60_000)
    await nodes.pass_time(0.2)
    await nodes.put("more")
    assert await nodes.waiting() == ["m0", "m1", "m3", "m4", "more"]


# The order


async def test_each_message_names_the_one_before_it_and_comes_after_it(nodes: Nodes) -> None:
    previous = 0
    for n in range(30):
        placed = await nodes.put(f"m{n}", persisted=n % 3 == 0, keep=Keep.NEVER)
        assert placed.seq > placed.previous == previous
        previous = placed.seq
    assert (await nodes.put("first", to="bob")).previous == 0
    _, head = await nodes.read()
    assert head == previous


async def test_an_acknowledgement_changes_no_order(nodes: Nodes) -> None:
    (first,) = await nodes.put_many("m1")
    await nodes.acknowledge("m1")
    assert (await nodes.read())[1] == first
    assert (await nodes.put("m2")).previous == first


async def test_two_nodes_that_put_at_the_same_time_have_one_order(nodes: Nodes) -> None:
    other = Nodes(nodes.there, nodes.here, nodes.clock)
    puts = [(nodes, other)[n % 2].put(f"m{n}", keep=Keep.NEVER) for n in range(40)]
    placed = sorted(await asyncio.gather(*puts))
    assert [one.previous for one in placed] == [0, *(one.seq for one in placed[:-1])]


# Catching up


async def test_nothing_was_missed_if_the_cursor_is_at_the_head(nodes: Nodes) -> None:
    *_, head = await nodes.put_many("m1", "m2")
    assert await nodes.catch_up(head) == Missed(head)


async def test_what_was_missed_comes_in_its_order_acknowledged_or_not(nodes: Nodes) -> None:
    first, *_ = await nodes.put_many("m1", "m2", "m3", "m4")
    await nodes.acknowledge("m1", "m3", "m4")
    answer = await nodes.catch_up(first)
    assert [one.message.id for one in answer.envelopes] == ["m2", "m3", "m4"]
    assert [one.seq for one in answer.envelopes] == sorted(one.seq for one in answer.envelopes)
    assert answer.head == answer.envelopes[-1].seq
    assert (answer.more, answer.is_new, answer.is_lost) == (False, False, False)


async def test_what_was_missed_is_as_it_was_put(nodes: Nodes) -> None:
    await nodes.put("m1", persisted=True, data="x")
    await nodes.put("m2", ack=False)
    stored, transient = (await nodes.catch_up(0)).envelopes
    assert (stored.message.id, stored.persisted, stored.acknowledged) == ("m1", True, True)
    assert (transient.message.id, transient.persisted, transient.acknowledged) == ("m2", False, False)
    assert (stored.receiver, stored.message.created, stored.expires_ms) == ("ann", NOW_MS, NOW_MS + 60_000)
    assert b'"data":"x"' in stored.encoder.content


async def test_a_cursor_from_before_the_first_message_misses_all(nodes: Nodes) -> None:
    assert await nodes.catch_up(0) == Missed(0)
    await nodes.put_many("m1", "m2")
    assert await nodes.missed(0) == ["m1", "m2"]


async def test_many_large_messages_are_caught_up_with_in_parts_or_at_once(nodes: Nodes) -> None:
    for n in range(8):
        await nodes.put(f"m{n}", data="x" * 300_000, keep=Keep.NEVER)
    assert await nodes.missed(0) == [f"m{n}" for n in range(8)]


@pytest.mark.parametrize("cursor", [12_345, 9_000_000_000_000_000])
async def test_catch_up_with_a_cursor_of_another_history_reports_a_new_one(nodes: Nodes, cursor: int) -> None:
    answer = await nodes.catch_up(cursor)
    assert (answer.head, list(answer.envelopes), answer.is_new, answer.is_lost) == (0, [], True, False)
    *_, head = await nodes.put_many("m1", "m2")
    answer = await nodes.catch_up(cursor)
    assert [one.message.id for one in answer.envelopes] == ["m1", "m2"]
    assert (answer.head, answer.is_new, answer.is_lost) == (head, True, False)


async def test_what_the_log_has_dropped_is_lost_to_a_cursor_before_it(forgetful: Nodes) -> None:
    first, second = await forgetful.put_many("m1", "m2")
    await forgetful.pass_time(0.06)
    assert await forgetful.catch_up(second) == Missed(second)
    (third,) = await forgetful.put_many("m3")
    await forgetful.put("m4")
    answer = await forgetful.catch_up(first)
    assert (answer.is_lost, answer.is_new, list(answer.envelopes)) == (True, False, [])
    assert answer.head > third
    assert await forgetful.waiting() == ["m1", "m2", "m3", "m4"], "what waits is in no log"


# Ids


async def test_a_given_id_is_known_with_the_digest_of_its_content(nodes: Nodes) -> None:
    first = await nodes.put("m1", kind=Kind.GIVEN, digest="17")
    await nodes.put("m2")
    again = await nodes.put("m1", data="other", kind=Kind.GIVEN, digest="18")
    assert again.known == "17"
    other = Nodes(nodes.there, nodes.here, nodes.clock)
    assert (await other.put("m1", kind=Kind.GIVEN, digest="17")).known == "17"
    (waiting, _), _ = await nodes.read()
    assert (waiting.seq, b'"hello"' in waiting.encoder.content) == (first.seq, True)
    assert await nodes.missed(0) == ["m1", "m2"]
    assert (await nodes.put("m1", to="bob", kind=Kind.GIVEN, digest="19")).known is None


async def test_a_given_id_is_known_after_its_message_was_acknowledged(nodes: Nodes) -> None:
    await nodes.put("m1", kind=Kind.GIVEN, digest="17")
    await nodes.acknowledge("m1")
    assert (await nodes.put("m1", kind=Kind.GIVEN, digest="17")).known == "17"
    assert await nodes.waiting() == []


async def test_a_given_id_is_known_until_its_message_expires(nodes: Nodes) -> None:
    await nodes.put("m1", ttl_ms=60, kind=Kind.GIVEN, digest="17")
    assert (await nodes.put("m1", kind=Kind.GIVEN, digest="18")).known == "17"
    nodes.clock.advance(0.2)
    nodes.there.expire(nodes.clock.epoch_ms())
    placed: list[Placed] = []

    async def put() -> None:
        while not placed or placed[-1].known is not None:
            placed.append(await nodes.put("m1", kind=Kind.GIVEN, digest="19"))

    putting = asyncio.create_task(put())
    await eventually(putting.done)
    assert (await nodes.put("m1", kind=Kind.GIVEN, digest="20")).known == "19"


async def test_a_given_id_is_known_if_the_mailbox_is_full(nodes: Nodes) -> None:
    for n in range(MAX_MESSAGES):
        await nodes.put(f"m{n}", kind=Kind.GIVEN, digest=f"{n}")
    assert (await nodes.put("m3", kind=Kind.GIVEN, digest="3")).known == "3"


async def test_a_persisted_message_is_known_again_from_the_log(nodes: Nodes) -> None:
    assert (await nodes.put("m1", persisted=True, kind=Kind.AGAIN)).known is None
    assert (await nodes.put("m1", persisted=True, kind=Kind.AGAIN)).known == ""
    assert (await nodes.put("m", persisted=True, kind=Kind.AGAIN)).known is None, "a part of an id is another id"
    assert await nodes.missed(0) == ["m1", "m"]


@pytest.mark.parametrize("kind", [Kind.STORED, Kind.AGAIN])
async def test_a_persisted_message_that_was_acknowledged_before_goes_to_the_sessions_from_before(
    nodes: Nodes, kind: Kind
) -> None:
    """One device may find it in the archive before the put, while others lack it."""
    await nodes.acknowledge("m1")
    assert (await nodes.put("m1", persisted=True, kind=kind)).known is None
    assert (await nodes.put("m1", to="bob", persisted=True, kind=kind)).known is None
    assert await nodes.waiting() == []
    assert await nodes.missed(0) == ["m1"]


# The fate of a message


async def test_an_acknowledgement_that_is_repeated_keeps_its_time(nodes: Nodes) -> None:
    """A node repeats recent acknowledgements to a server that may lack them."""

    async def acked_ms() -> int:
        found: list[Missed] = []
        placed = await nodes.put("m1", persisted=True, kind=Kind.STORED)
        asking = nodes.there.catch_up("ann", placed.previous, found.append)
        if asking is not None:
            await asking
        return found[0].envelopes[0].acked_ms

    await nodes.acknowledge("m1")
    first_ms = await acked_ms()
    assert first_ms > 0
    await nodes.pass_time(0.005)
    await nodes.acknowledge("m1")
    assert await acked_ms() == first_ms


async def test_what_was_acknowledged_is_remembered(nodes: Nodes) -> None:
    await nodes.put_many("m1", "m2")
    await nodes.put("m3", persisted=True)
    await nodes.acknowledge("m2", "m3", "unknown")
    assert list(await nodes.there.acknowledged("ann", ["m1", "m2", "m3", "unknown"])) == [False, True, True, True]
    assert list(await nodes.there.acknowledged("bob", ["m2"])) == [False]
    assert list(await nodes.there.acknowledged("ann", [])) == []


async def test_the_fate_of_a_message_is_known(nodes: Nodes) -> None:
    await nodes.put_many("m1", "m2")
    await nodes.acknowledge("m2")
    assert [await nodes.there.fate("ann", id) for id in ("m1", "m2", "m3")] == [
        Fate.WAITS,
        Fate.ACKNOWLEDGED,
        Fate.UNKNOWN,
    ]


# Watching


async def test_watching_changes_nothing_that_others_see(nodes: Nodes) -> None:
    nodes.here.watch("ann")
    assert await nodes.read() == ([], 0)
    await nodes.put_many("m1")
    nodes.here.unwatch("ann")
    nodes.here.unwatch("nobody")
    assert await nodes.missed(0) == ["m1"]
