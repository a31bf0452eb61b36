"""Everything at the same time, with a mailbox that answers late."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from app.delivery.retry import RetryPolicy
from tests.delivery.node import Device, Node
from tests.delivery.remote import RemoteMailbox

STEPS = 400


@dataclass
class Phone:
    device: Device
    listening: bool = False
    got: list[str] = field(default_factory=list)
    """New messages since it subscribed, in the order in which they came."""

    def read(self) -> None:
        for id in self.device.got():
            if id not in self.got:
                self.got.append(id)


class Storm:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.mailbox = RemoteMailbox()
        self.node = Node(mailbox=self.mailbox, policy=RetryPolicy(wait_s=1, interval_s=1, max_retries=1_000_000))
        self.phones: list[Phone] = []
        self.tasks: list[asyncio.Task[object]] = []
        self.pushed = 0
        self.acked: set[str] = set()

    def connect(self) -> None:
        if len(self.phones) < 4:
            self.phones.append(Phone(self.node.device()))

    def subscribe(self, phone: Phone) -> None:
        if not phone.listening:
            phone.listening = True
            phone.read()
            phone.got.clear()
            if phone.device.listen():
                self.tasks.append(asyncio.create_task(phone.device.replay()))

    def unsubscribe(self, phone: Phone) -> None:
        if phone.listening:
            phone.listening = False
            phone.device.unsubscribe()

    def leave(self, phone: Phone) -> None:
        phone.device.leave()
        phone.device.transport.slow = False  # what waits for room is let go
        self.phones.remove(phone)

    def slow(self, phone: Phone) -> None:
        phone.device.transport.slow = not phone.device.transport.slow

    def ack(self, phone: Phone) -> None:
        phone.read()
        if phone.got:
            id = self.random.choice(phone.got)
            phone.device.ack(id)
            self.acked.add(id)

    def push(self) -> None:
        self.pushed += 1
        self.tasks.append(asyncio.create_task(self.node.push(f"m{self.pushed:04}")))

    def sweep(self) -> None:
        self.node.clock.advance(0.1)
        self.tasks.append(asyncio.create_task(self.node.delivery.sweep()))

    async def run(self) -> None:
        of_phones: list[Callable[[Phone], None]] = [
            self.subscribe, self.subscribe, self.unsubscribe, self.leave, self.slow, self.ack, self.ack
        ]  # fmt: skip
        alone: list[Callable[[], None]] = [self.connect, self.push, self.push, self.sweep]
        for _ in range(STEPS):
            if self.phones and self.random.random() < 0.5:
                self.random.choice(of_phones)(self.random.choice(self.phones))
            else:
                self.random.choice(alone)()
            for _ in range(self.random.choice((0, 0, 1, 2, 5))):
                await asyncio.sleep(0)
        for phone in self.phones:
            phone.device.transport.slow = False
        await asyncio.gather(*self.tasks)


@pytest.mark.parametrize("seed", range(30))
async def test_in_the_end_every_listener_has_all_that_nobody_acknowledged_in_order(seed: int) -> None:
    storm = Storm(seed)
    await storm.run()
    node = storm.node
    assert node.clock.monotonic() < 1_060, "nothing has expired"
    waiting = await node.pending()
    assert waiting == [id for n in range(1, storm.pushed + 1) if (id := f"m{n:04}") not in storm.acked]
    for phone in storm.phones:
        phone.read()
        assert phone.device.session.replay is None
        if phone.listening:
            assert set(waiting) <= set(phone.device.open) <= set(phone.got)
            assert phone.got == sorted(phone.got)
        else:
            assert list(phone.device.open) == []
    assert len(node.ledger) == sum(len(phone.device.open) for phone in storm.phones)
    for phone in tuple(storm.phones):
        storm.leave(phone)
    assert node.acks.open_records == 0
