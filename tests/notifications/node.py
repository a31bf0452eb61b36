"""One node of the service without a network: its delivery, its database, and devices that come and go."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from app.cluster.ledger.memory import MemoryLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.relay.memory import MemoryBus
from app.db.database import Database
from app.delivery.ack_manager import AckManager
from app.delivery.delivery import Delivery
from app.delivery.log import DeliveryLog, PushOutcome
from app.delivery.mailbox import MailboxLimits
from app.delivery.retry import RetryPolicy
from app.hub.hub import Hub
from app.hub.session import Session
from app.messages.destinations import USER_ERRORS, USER_MESSAGES
from app.messages.ids import id_factory
from app.messages.message import NotifyMessage
from app.notifications.archive import NotifyArchive
from app.notifications.history import NotifyHistory
from app.notifications.manager import NotifyManager
from app.notifications.policy import NotifyPolicy
from app.stomp.events import Subscription
from app.stomp.frames import AckMode, Frame, Version
from app.timing.tasks import TaskOwner
from tests.clock import FakeClock
from tests.fakes import FakeTransport

INBOX_LIMIT = 10


class ArchiveSwitch:
    """The archive of a node, whose `target` a test may replace."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


class Node:
    def __init__(self, url: str, clock: FakeClock, *, log_size: int = 1_000) -> None:
        self.clock = clock
        self.database = Database(url)
        self.hub = Hub()
        self.acks = AckManager(hub=self.hub, ledger=MemoryLedger(), policy=RetryPolicy(), clock=clock, log_events=False)
        self.mailbox = MemoryMailbox(MemoryStore(MailboxLimits(window_ms=0), clock))
        self.log = DeliveryLog(log_size)
        self.relay, self.tasks = MemoryBus().relay(), TaskOwner()
        self.policy = NotifyPolicy()
        self.archive = NotifyArchive(database=self.database, clock=clock, policy=self.policy)
        self.read_archive: Any = ArchiveSwitch(self.archive)
        self.delivery = Delivery(
            hub=self.hub,
            acks=self.acks,
            mailbox=self.mailbox,
            relay=self.relay,
            log=self.log,
            clock=clock,
            new_id=id_factory(clock),
            tasks=self.tasks,
            archive=self.read_archive,
            archive_limit=INBOX_LIMIT,
        )
        self.manager = NotifyManager(
            database=self.database,
            delivery=self.delivery,
            clock=clock,
            policy=self.policy,
            marks=self.archive.marks,
        )
        self.history = NotifyHistory(database=self.database, delivery=self.delivery, clock=clock)
        self._sessions = 0

    def message(self, id: str | None = None, *, to: str = "ann", data: Any = "hello") -> NotifyMessage:
        return NotifyMessage(
            id=id or self.delivery.new_id(),
            type="STRING_MSG",
            receiver=to,
            data=data,
            viewed=False,
            created=self.clock.epoch_ms(),
        )

    async def push(self, id: str | None = None, *, to: str = "ann", data: Any = "hello") -> PushOutcome:
        return await self.manager.save_and_publish(self.message(id, to=to, data=data))

    async def store(self, *ids: str, to: str = "ann") -> None:
        """Without pushing: as if the process had died in between."""
        for id in ids:
            message = self.message(id, to=to)
            await self.sql(
                "INSERT INTO notify_log (id, type, receiver, data, viewed, created, last_modified, version)"
                f" VALUES ('{id}', 'STRING_MSG', '{to}', '\"hello\"', false, {message.created}, {message.created}, 0);"
            )
            await self.sql(
                f"INSERT INTO unread_count (receiver, unread) VALUES ('{to}', 1)"
                " ON CONFLICT (receiver) DO UPDATE SET unread = unread_count.unread + 1"
            )

    def device(self, user: str = "ann", transport: FakeTransport | None = None) -> "Device":
        self._sessions += 1
        return Device(self, user, f"s{self._sessions}", transport or FakeTransport())

    async def listening(self, user: str = "ann") -> "Device":
        device = self.device(user)
        await device.replay()
        return device

    # What the database holds

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as session:
            result = await session.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []  # type: ignore[attr-defined]

    async def ids(self, condition: str = "true") -> list[str]:
        rows = await self.sql(f"SELECT id FROM notify_log WHERE {condition} ORDER BY created, id")
        return [row[0] for row in rows]

    async def noted(self) -> None:
        """Returns once nothing waits to be written behind."""
        await self.archive.close()

    async def unread_is_exact(self) -> bool:
        counted = await self.sql("SELECT receiver, count(*) FROM notify_log WHERE NOT viewed GROUP BY receiver")
        kept = await self.sql("SELECT receiver, unread FROM unread_count WHERE unread <> 0")
        return sorted(counted) == sorted(kept)


class Device:
    """A session that listens to its messages and errors; `replay` begins its life."""

    def __init__(self, node: Node, user: str, session_id: str, transport: FakeTransport) -> None:
        self.node = node
        self.transport = transport
        port: Any = transport
        self.session = Session(
            id=session_id, user=user, version=Version.V12, transport=port, connected_ms=node.clock.epoch_ms()
        )
        node.hub.join(self.session)
        for destination in (USER_MESSAGES, USER_ERRORS):
            node.hub.subscribe(self.session, Subscription(destination, destination, AckMode.AUTO))
        node.delivery.begin_replay(self.session)
        node.delivery.watch(self.session, USER_MESSAGES)

    async def replay(self) -> None:
        """Returns when all that waits has been sent."""
        replay = self.session.replay
        if (reading := self.node.delivery.replay(self.session)) is not None:
            await reading
        while self.session.replay is not None and self.session.replay is replay:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def ack(self, *ids: str) -> None:
        for id in ids:
            self.node.delivery.acknowledgements.acknowledge(self.session, id)

    def leave(self) -> None:
        if self.node.hub.leave(self.session):
            self.node.delivery.leave(self.session)

    def frames(self, destination: str = USER_MESSAGES) -> Sequence[Frame]:
        """Since the last call; those of other destinations are passed over."""
        return [frame for frame in self.transport.frames() if frame.headers["destination"] == destination]

    def received(self) -> list[dict[str, Any]]:
        return [json.loads(frame.body) for frame in self.frames()]

    def got(self) -> list[str]:
        return [frame.headers["message-id"] for frame in self.frames()]

    @property
    def open(self) -> int:
        return self.node.acks.open_records_of(self.session)


@asynccontextmanager
async def running_node(url: str, clock: FakeClock | None = None, **options: Any) -> AsyncIterator[Node]:
    node = Node(url, clock or FakeClock(), **options)
    tasks = [asyncio.create_task(node.archive.run()), asyncio.create_task(node.manager.run())]
    try:
        yield node
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await node.database.aclose()
