"""One node of the service without a network: its hub and delivery, and devices that come and go."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cluster.ledger.memory import MemoryLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.relay.memory import MemoryBus
from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive
from app.delivery.delivery import Delivery
from app.delivery.ledger import Ledger
from app.delivery.log import DeliveryLog, PushOutcome, Trace
from app.delivery.mailbox import Mailbox, MailboxLimits
from app.delivery.observer import Event
from app.delivery.relay import Relay
from app.delivery.retry import RetryPolicy
from app.hub.hub import Hub
from app.hub.session import Session
from app.messages.destinations import USER_MESSAGES
from app.messages.ids import id_factory
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.stomp.events import Subscription
from app.stomp.frames import AckMode, Frame, Version
from app.timing.tasks import TaskOwner
from tests.clock import FakeClock
from tests.fakes import FakeTransport

TTL_MS = 60_000
LATENESS_S = 0.05  # a resend comes at most so much after it is due


class DeviceTransport(FakeTransport):
    """Calls `on_send` after each frame, and can be `slow`: not writable, though it takes what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.on_send: Callable[[], object] = lambda: None

    def send(self, data: bytes, binary: bool = False) -> None:
        super().send(data, binary)
        self.on_send()

    @property
    def slow(self) -> bool:
        return not self.room.is_set()

    @slow.setter
    def slow(self, value: bool) -> None:
        if value:
            self.room.clear()
        else:
            self.room.set()


@dataclass(frozen=True)
class Received:
    """A MESSAGE as its client reads it; headers and body must tell the same."""

    id: str
    attempt: int
    last_sent_ms: int
    body: dict[str, Any]
    frame: Frame


def read(frame: Frame) -> Received:
    body = json.loads(frame.body)
    headers = frame.headers
    attempt = int(headers.get("attempt", 1))
    assert headers.get("redelivered") == ("true" if attempt > 1 else None)
    assert ("attempt" in headers) == (attempt > 1)
    assert body["ack_retry_count"] == attempt - 1
    assert body["id"] == headers["message-id"]
    assert headers["destination"] == USER_MESSAGES
    return Received(body["id"], attempt, body["ack_last_sent"], body, frame)


async def read_mailbox(mailbox: Mailbox, user: str, now_ms: int) -> Sequence[Envelope]:
    reading = mailbox.read(user, now_ms, lambda head: None)
    return reading if isinstance(reading, Sequence) else await reading


class Node:
    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        policy: RetryPolicy | None = None,
        limits: MailboxLimits | None = None,
        ledger: Ledger | None = None,
        mailbox: Mailbox | None = None,
        relay: Relay | None = None,
        log_size: int = 1_000,
        log_events: bool = False,
        max_open_per_session: int = 1_000,
        archive: Archive | None = None,
        archive_limit: int = 10,
        is_observed: bool = True,
    ) -> None:
        self.clock = clock or FakeClock()
        self.policy = policy or RetryPolicy()
        self.hub = Hub()
        self.log = DeliveryLog(log_size)
        self.events: list[Event] = []
        observer = self.events.append if is_observed else None
        self.ledger = MemoryLedger() if ledger is None else ledger
        if mailbox is None:
            mailbox = MemoryMailbox(MemoryStore(limits or MailboxLimits(window_ms=0), self.clock))
        self.mailbox = mailbox
        self.acks = AckManager(
            hub=self.hub,
            ledger=self.ledger,
            policy=self.policy,
            clock=self.clock,
            log_events=log_events,
            max_open_per_session=max_open_per_session,
            observer=observer,
        )
        self.tasks = TaskOwner()
        self.delivery = Delivery(
            hub=self.hub,
            acks=self.acks,
            mailbox=self.mailbox,
            relay=relay or MemoryBus().relay(),
            log=self.log,
            clock=self.clock,
            new_id=id_factory(self.clock),
            tasks=self.tasks,
            archive=archive,
            archive_limit=archive_limit,
            observer=observer,
        )
        self._devices = 0

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def device(self, user: str = "ann", *, version: Version = Version.V12) -> "Device":
        """One that has connected and not subscribed."""
        self._devices += 1
        return Device(self, user, f"s{self._devices}", version)

    async def listening(self, user: str = "ann") -> "Device":
        device = self.device(user)
        await device.subscribe()
        return device

    async def push(
        self,
        id: str | None = None,
        *,
        to: str = "ann",
        data: Any = "hello",
        ttl_ms: int = TTL_MS,
        ack: bool = True,
    ) -> PushOutcome:
        """With an `id` as a caller who chose it."""
        now_ms = self.clock.epoch_ms()
        message = NotifyMessage(
            id=id or self.delivery.new_id(), type="STRING_MSG", receiver=to, data=data, viewed=False, created=now_ms
        )
        envelope = Envelope(
            message=message, encoder=MessageEncoder(message), expires_ms=now_ms + ttl_ms, acknowledged=ack
        )
        return await self.delivery.push(envelope, given_id=id is not None)

    async def pass_time(self, seconds: float, step_s: float = 0.25) -> None:
        """With the retry job looking every `step_s`."""
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            await self.delivery.sweep()

    async def pending(self, user: str = "ann") -> list[str]:
        """Ids that wait in the mailbox."""
        return [envelope.message.id for envelope in await read_mailbox(self.mailbox, user, self.clock.epoch_ms())]

    def trace(self, message_id: str) -> Trace:
        trace = self.delivery.trace(message_id)
        assert trace is not None
        return trace

    def status(self, message_id: str) -> str:
        return self.trace(message_id).status(self.clock.epoch_ms())


class Device:
    """A session, and what the gateway does for it."""

    def __init__(self, node: Node, user: str, session_id: str, version: Version) -> None:
        self.node = node
        self.transport = DeviceTransport()
        port: Any = self.transport
        self.session = Session(
            id=session_id,
            user=user,
            version=version,
            transport=port,
            connected_ms=node.clock.epoch_ms(),
        )
        self.subscriptions: list[Subscription] = []
        node.hub.join(self.session)

    def listen(self, ack_mode: AckMode = AckMode.AUTO) -> bool:
        """SUBSCRIBE, before the mailbox is replayed; whether a replay has to follow."""
        is_first = not self.subscriptions
        subscription = Subscription(str(len(self.subscriptions)), USER_MESSAGES, ack_mode)
        self.subscriptions.append(subscription)
        self.node.hub.subscribe(self.session, subscription)
        self.node.delivery.watch(self.session, USER_MESSAGES)
        if is_first:
            self.node.delivery.begin_replay(self.session)
        return is_first

    def listen_to(self, destination: str) -> None:
        self.node.hub.subscribe(self.session, Subscription(destination, destination))
        self.node.delivery.watch(self.session, destination)

    async def replay(self) -> None:
        """Returns when all that waits has been sent."""
        replay = self.session.replay
        if (reading := self.node.delivery.replay(self.session)) is not None:
            await reading
        while self.session.replay is not None and self.session.replay is replay:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def subscribe(self, ack_mode: AckMode = AckMode.AUTO) -> None:
        if self.listen(ack_mode):
            await self.replay()

    def unsubscribe(self) -> None:
        self.node.hub.unsubscribe(self.session, self.subscriptions.pop())
        if not self.subscriptions:
            self.node.delivery.leave(self.session)

    def leave(self) -> None:
        if self.node.hub.leave(self.session):
            self.node.delivery.leave(self.session)

    def ack(self, *message_ids: str) -> None:
        for message_id in message_ids:
            self.node.delivery.acknowledgements.acknowledge(self.session, message_id)

    def ack_up_to(self, message_id: str) -> None:
        self.node.delivery.acknowledgements.acknowledge_up_to(self.session, message_id)

    def nack(self, message_id: str, *, cumulative: bool = False) -> None:
        self.node.delivery.acknowledgements.nack(self.session, message_id, cumulative=cumulative)

    def received(self) -> list[Received]:
        """Since the last call."""
        return [read(frame) for frame in self.transport.frames(self.session.version)]

    def got(self) -> list[str]:
        return [message.id for message in self.received()]

    def attempts(self) -> list[tuple[str, int]]:
        return [(message.id, message.attempt) for message in self.received()]

    @property
    def open(self) -> Sequence[str]:
        return [record.message_id for record in self.node.ledger.records(self.session.id)]
