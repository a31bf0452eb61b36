"""The mailbox in memory beside the scripts in Redis: the same calls have the same results."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.client import PubSub

from app.cluster.keys import acknowledged_key, head_key, inbox_key, known_key, log_key, user_channel
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.mailbox.redis import RedisMailbox
from app.delivery.mailbox import Keep, Kind, Mailbox, MailboxLimits, Missed
from app.errors import InboxFull
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.timing.clock import SystemClock
from tests.nodes import running_node
from tests.valkey import fresh_database, valkey

LIMITS = MailboxLimits(max_messages=4, window_ms=600_000)
IDS = ("a", "b", "c")
users = count()

Result = Any
Step = tuple[Any, ...]

puts = st.tuples(st.just("put"), st.sampled_from(Keep), st.sampled_from(Kind), st.sampled_from(IDS), st.booleans())
steps = st.one_of(
    puts,
    puts,
    st.tuples(st.just("acknowledge"), st.integers(0, 5)),
    st.tuples(st.just("read")),
    st.tuples(st.just("catch up"), st.integers(-2, 8)),
    st.tuples(st.sampled_from(("listen", "listen no more", "the log expires", "all is lost"))),
)


class Side:
    """One mailbox of one user; seqs are told as the ids that have them, so that two sides compare."""

    def __init__(self, mailbox: Mailbox, user: str) -> None:
        self.mailbox = mailbox
        self.user = user
        self.new_ids: list[str] = []
        self.names: dict[int, str] = {0: "nothing"}

    async def put(self, keep: Keep, kind: Kind, id: str, is_other: bool) -> Result:
        """`id` is of a caller, or of a persisted message; `is_other`: with other content."""
        if kind in (Kind.STORED, Kind.AGAIN):
            id, keep = f"stored {id}", Keep.NEVER
        if kind in (Kind.NEW, Kind.STORED):
            id = f"{kind}{len(self.new_ids)}"
            self.new_ids.append(id)
        envelope = self._envelope(id, keep, kind)
        seen: list[int] = []
        try:
            placed = await self.mailbox.put(
                envelope,
                keep=keep,
                kind=kind,
                digest=f"digest {is_other}",
                on_accepted=lambda placed: seen.append(placed.seq),
            )
        except InboxFull:
            return "full", seen
        if placed.known is not None:
            return "known", placed.known, seen
        assert seen == [placed.seq] == [envelope.seq]
        assert placed.seq > max(self.names), "a seq is above all before it"
        self.names[placed.seq] = f"{id} {len(self.names)}"
        return self.names[placed.previous], placed.others, placed.kept

    def _envelope(self, id: str, keep: Keep, kind: Kind) -> Envelope:
        now_ms = time.time_ns() // 1_000_000
        message = NotifyMessage(id, "STRING_MSG", self.user, "hello", False, now_ms)
        is_persisted = kind in (Kind.STORED, Kind.AGAIN)
        return Envelope(message, MessageEncoder(message), now_ms + 600_000, keep is Keep.ALWAYS, is_persisted)

    async def acknowledge(self, index: int) -> Result:
        ids = [*self.new_ids, *IDS, *(f"stored {id}" for id in IDS)]
        self.mailbox.acknowledge(self.user, ids[index % len(ids)])
        if (confirmation := self.mailbox.confirmation(self.user, ids[index % len(ids)])) is not None:
            await confirmation
        return await self.mailbox.acknowledged(self.user, ids)

    async def read(self) -> Result:
        heads: list[int] = []
        reading = self.mailbox.read(self.user, time.time_ns() // 1_000_000, heads.append)
        envelopes: Sequence[Envelope] = reading if isinstance(reading, Sequence) else await reading
        assert [one.seq for one in envelopes] == sorted(one.seq for one in envelopes)
        return self.names[heads[0]], [(self.names[one.seq], one.persisted or one.was_sent) for one in envelopes]

    async def catch_up(self, index: int) -> Result:
        """From one of the seqs so far, or from one that never was."""
        seqs = sorted(self.names)
        answers: list[Missed] = []
        cursor = {-1: 1, -2: seqs[-1] + 1_000_000_000}.get(index, seqs[min(max(index, 0), len(seqs) - 1)])
        asking: Awaitable[None] | None = self.mailbox.catch_up(self.user, cursor, answers.append)
        if asking is not None:
            await asking
        (missed,) = answers
        assert not missed.more
        return self.names[missed.head], [self.names[one.seq] for one in missed.envelopes], missed.is_new, missed.is_lost


class MemorySide(Side):
    def __init__(self, user: str) -> None:
        self.store = MemoryStore(LIMITS, SystemClock())
        self.others = 0
        super().__init__(MemoryMailbox(self.store, lambda envelope, previous: self.others), user)

    async def act(self, what: str) -> None:
        if what == "listen":
            self.others = 1
        elif what == "listen no more":
            self.others = 0
        elif what == "the log expires":
            self.store._logs.pop(self.user, None)
            self.store._stored.pop(self.user, None)
        else:
            latest, self.store = self.store._seq, MemoryStore(LIMITS, SystemClock())
            self.store._seq = latest  # its clock counts ms, and may not have moved since
            self.mailbox = MemoryMailbox(self.store, lambda envelope, previous: self.others)


class RedisSide(Side):
    def __init__(self, mailbox: Mailbox, user: str, listener: PubSub) -> None:
        self.listener = listener
        super().__init__(mailbox, user)

    async def act(self, what: str) -> None:
        client, user = valkey().client(), self.user
        if what == "listen":
            self.listener.subscribe(user_channel(user))
            self._await_confirmation("subscribe")
        elif what == "listen no more":
            self.listener.unsubscribe(user_channel(user))  # type: ignore[no-untyped-call]
            self._await_confirmation("unsubscribe")
        elif what == "the log expires":
            client.delete(log_key(user))
        else:
            known = [known_key(user, id) for id in (*IDS, *self.new_ids)]
            client.delete(*known, inbox_key(user), log_key(user), head_key(user), acknowledged_key(user))

    def _await_confirmation(self, kind: str) -> None:
        while True:
            message = self.listener.get_message(timeout=30)
            assert message is not None
            if message["type"] == kind:
                return


async def run(side: MemorySide | RedisSide, step: Step) -> Result:
    match step:
        case ("put", keep, kind, id, is_other):
            return await side.put(keep, kind, id, is_other)
        case ("acknowledge", index):
            return await side.acknowledge(index)
        case ("read",):
            return await side.read()
        case ("catch up", index):
            return await side.catch_up(index)
        case (what,):
            return await side.act(what)


# Hypothesis calls a plain function; the node lives on the loop of a thread of its own


@contextmanager
def running_mailbox() -> Iterator[tuple[RedisMailbox, Callable[[Awaitable[Any]], Any]]]:
    started = threading.Event()
    ready: dict[str, Any] = {}

    async def main(url: str) -> None:
        ended = asyncio.Event()
        async with running_node(url) as node:
            mailbox = RedisMailbox(node.client, limits=LIMITS, clock=SystemClock(), node=node.name)
            writing = asyncio.ensure_future(mailbox.run())
            ready.update(loop=asyncio.get_running_loop(), mailbox=mailbox, ended=ended)
            started.set()
            await ended.wait()
            writing.cancel()

    with fresh_database() as url:
        thread = threading.Thread(target=lambda: asyncio.run(main(url)))
        thread.start()
        assert started.wait(30)
        loop: asyncio.AbstractEventLoop = ready["loop"]
        try:
            yield ready["mailbox"], lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30)  # type: ignore[arg-type]
        finally:
            loop.call_soon_threadsafe(ready["ended"].set)
            thread.join(30)


@pytest.fixture(scope="module")
def redis() -> Iterator[tuple[RedisMailbox, Callable[[Awaitable[Any]], Any]]]:
    with running_mailbox() as running:
        yield running


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(steps, min_size=5, max_size=25))
def test_memory_and_redis_have_the_same_results(
    redis: tuple[RedisMailbox, Callable[[Awaitable[Any]], Any]], steps: list[Step]
) -> None:
    mailbox, wait_for = redis
    user = f"user{next(users)}"
    with valkey().client().pubsub() as listener:  # type: ignore[no-untyped-call]
        sides = MemorySide(user), RedisSide(mailbox, user, listener)
        for step in steps:
            if step == (("listen no more",) if not sides[0].others else ("listen",)):
                continue  # it does already
            in_memory, in_redis = (wait_for(run(side, step)) for side in sides)
            assert in_memory == in_redis, step
