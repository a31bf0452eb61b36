"""Delivery beside a model of what it promises, through any sequence of events."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.cluster.ledger.memory import MemoryLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.delivery.mailbox import MailboxLimits
from app.delivery.retry import RetryPolicy
from app.errors import InboxFull
from tests.clock import FakeClock
from tests.delivery.node import Device, Node

USERS = ("ann", "bob")
POLICY = RetryPolicy(wait_s=3, interval_s=2, max_retries=4)
MAX_MESSAGES = 6
TTLS_MS = (1_000, 5_000, 30_000)
SLACK_S = 0.15  # the resolution of both schedules


@dataclass
class Message:
    id: str
    user: str
    expires_ms: int
    acked: bool = False


@dataclass
class Copy:
    """What one session should have of one message."""

    message: Message
    retries: int = 0
    due_s: float = 0


@dataclass
class Phone:
    device: Device
    user: str
    listening: bool = False
    copies: dict[str, Copy] = field(default_factory=dict)


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        clock = FakeClock()
        self.ledger = MemoryLedger()
        self.store = MemoryStore(MailboxLimits(max_messages=MAX_MESSAGES, window_ms=0), clock)
        self.node = Node(clock=clock, policy=POLICY, ledger=self.ledger, mailbox=MemoryMailbox(self.store))
        self.messages: list[Message] = []
        self.phones: list[Phone] = []

    def teardown(self) -> None:
        for phone in tuple(self.phones):
            self._expect(phone)
        self._pass(TTLS_MS[-1] / 1_000 + 1)
        self._nothing_is_left()
        assert self.store._known == {}
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # The model

    @property
    def now_s(self) -> float:
        return self.node.clock.monotonic()

    @property
    def now_ms(self) -> int:
        return self.node.clock.epoch_ms()

    def stored(self, user: str) -> list[Message]:
        return [m for m in self.messages if m.user == user and not m.acked and m.expires_ms > self.now_ms]

    def _send(self, phone: Phone, message: Message) -> None:
        expires_s = self.now_s + (message.expires_ms - self.now_ms) / 1_000
        phone.copies[message.id] = Copy(message, due_s=min(self.now_s + POLICY.wait_s, expires_s))

    def _expect(self, phone: Phone, ids: list[str] | None = None) -> None:
        got = phone.device.got()
        if ids is not None:
            assert got == ids

    # Sessions

    @precondition(lambda self: len(self.phones) < 5)
    @rule(user=st.sampled_from(USERS))
    def connect(self, user: str) -> None:
        self.phones.append(Phone(self.node.device(user), user))

    @precondition(lambda self: any(not phone.listening for phone in self.phones))
    @rule(data=st.data())
    def subscribe(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from([phone for phone in self.phones if not phone.listening]))
        self.run(phone.device.subscribe())
        phone.listening = True
        assert not phone.copies
        for message in self.stored(phone.user):
            self._send(phone, message)
        self._expect(phone, list(phone.copies))

    @precondition(lambda self: any(phone.listening for phone in self.phones))
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from([phone for phone in self.phones if phone.listening]))
        phone.device.unsubscribe()
        phone.listening = False
        phone.copies.clear()

    @precondition(lambda self: self.phones)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from(self.phones))
        phone.device.leave()
        self.phones.remove(phone)

    # Messages

    @rule(user=st.sampled_from(USERS), ttl_ms=st.sampled_from(TTLS_MS))
    def push(self, user: str, ttl_ms: int) -> None:
        message = Message(f"m{len(self.messages)}", user, self.now_ms + ttl_ms)
        listening = [phone for phone in self.phones if phone.user == user and phone.listening]
        kept = len(self.store._inboxes.get(user, ()))
        try:
            outcome = self.run(self.node.push(message.id, to=user, ttl_ms=ttl_ms))
        except InboxFull:
            assert kept == MAX_MESSAGES
            return
        assert kept < MAX_MESSAGES
        assert outcome.sessions == len(listening)
        assert outcome.status == ("sent" if listening else "stored")
        self.messages.append(message)
        for phone in listening:
            self._send(phone, message)
            self._expect(phone, [message.id])

    @precondition(lambda self: self.messages and self.phones)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Anything, also what was never sent to this session, or is another user's."""
        phone = data.draw(st.sampled_from(self.phones))
        message = data.draw(st.sampled_from(self.messages))
        phone.device.ack(message.id)
        self._acked(phone, message)

    @precondition(lambda self: any(phone.copies for phone in self.phones))
    @rule(data=st.data())
    def acknowledge_up_to(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from([phone for phone in self.phones if phone.copies]))
        ids = list(phone.copies)
        last = data.draw(st.sampled_from(ids))
        phone.device.ack_up_to(last)
        for id in ids[: ids.index(last) + 1]:
            self._acked(phone, phone.copies[id].message)

    def _acked(self, phone: Phone, message: Message) -> None:
        phone.copies.pop(message.id, None)
        if message.user == phone.user:
            message.acked = True

    @precondition(lambda self: any(phone.copies for phone in self.phones))
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        phone = data.draw(st.sampled_from([phone for phone in self.phones if phone.copies]))
        copy = data.draw(st.sampled_from(list(phone.copies.values())))
        phone.device.nack(copy.message.id)
        expires_s = self.now_s + (copy.message.expires_ms - self.now_ms) / 1_000
        copy.due_s = min(self.now_s + POLICY.interval_s, expires_s)

    # Time

    @rule(seconds=st.sampled_from((0.125, 0.875, 2.0, 3.0, 5.5)))  # of eighths, so that sums of them are exact
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.node.clock.advance(seconds)
        self.run(self.node.delivery.sweep())
        for phone in self.phones:
            got = phone.device.received()
            assert len({message.id for message in got}) == len(got), "one sweep sends a copy once"
            resent = {message.id for message in got}
            for id, copy in tuple(phone.copies.items()):
                self._plan(phone, copy, id in resent)
            assert resent <= set(phone.copies)

    def _plan(self, phone: Phone, copy: Copy, resent: bool) -> None:
        """Within the resolution either is right; beyond it there is one right answer."""
        message = copy.message
        if message.expires_ms <= self.now_ms:
            assert not resent
            if self.ledger.get(phone.device.session.id, message.id) is None:
                del phone.copies[message.id]
            else:
                assert self.now_ms < message.expires_ms + SLACK_S * 1_000
        elif copy.due_s > self.now_s:
            assert not resent
        elif copy.due_s + SLACK_S < self.now_s or resent:
            assert resent == (copy.retries < POLICY.max_retries)
            copy.retries += 1
            while copy.due_s <= self.now_s:
                copy.due_s += POLICY.interval_s
            if not resent:
                del phone.copies[message.id]
        elif self.ledger.get(phone.device.session.id, message.id) is None:
            assert copy.retries == POLICY.max_retries
            del phone.copies[message.id]

    # What always holds

    @invariant()
    def every_message_is_acknowledged_or_has_expired_or_waits(self) -> None:
        for user in USERS:
            assert self.run(self.node.pending(user)) == [message.id for message in self.stored(user)]

    @invariant()
    def each_session_has_one_open_record_for_each_copy_that_it_has_not_acknowledged(self) -> None:
        for phone in self.phones:
            assert list(phone.device.open) == list(phone.copies)
        assert len(self.ledger) == sum(len(phone.copies) for phone in self.phones)
        assert self.node.acks.open_records == len(self.ledger)

    @invariant()
    def retries_never_exceed_their_number(self) -> None:
        for phone in self.phones:
            assert all(record.retries <= POLICY.max_retries for record in self.ledger.records(phone.device.session.id))

    @precondition(lambda self: not any(m for user in USERS for m in self.stored(user)))
    @precondition(lambda self: not any(phone.copies for phone in self.phones))
    @rule()
    def let_all_expire(self) -> None:
        self._pass(0.5)
        self._nothing_is_left()

    def _nothing_is_left(self) -> None:
        assert self.store.size_bytes == 0
        assert (self.store._inboxes, self.store._logs) == ({}, {})
        assert self.store._schedule._slots == {}
        assert (len(self.ledger), self.ledger._sessions, self.ledger._schedule._slots) == (0, {}, {})


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
