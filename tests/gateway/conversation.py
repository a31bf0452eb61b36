"""A gateway on fakes, and clients that talk to it in bytes."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from app.auth.ports import Authenticator
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.presence.memory import MemoryPresence
from app.cluster.relay.memory import MemoryBus
from app.connections.limits import ConnectionLimits, LimitOptions
from app.delivery.ack_manager import AckManager
from app.delivery.delivery import Delivery
from app.delivery.log import DeliveryLog, PushOutcome
from app.delivery.mailbox import Mailbox, MailboxLimits
from app.delivery.observer import Disconnected, Event
from app.delivery.relay import Relay
from app.delivery.retry import RetryPolicy
from app.disconnects import DisconnectReason
from app.gateway.core_routes import core_routes
from app.gateway.gateway import Gateway
from app.gateway.presence import Presence
from app.gateway.routing import DestinationRoutes
from app.gateway.services import ConnectionOptions
from app.hub.hub import Hub
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.messages.types import TypeRegistry
from app.push.publisher import Lifetime, Publisher
from app.stomp.codec import encode_frame
from app.stomp.frames import Frame, Version
from app.timing.tasks import TaskOwner
from tests.clock import FakeClock
from tests.fakes import FakeAuthenticator, FakeTransport


async def settle() -> None:
    """Lets everything run that can run without waiting for time."""
    for _ in range(20):
        await asyncio.sleep(0)


TICK_S = 0.25


class Peer:
    """One client: what it sends goes in as bytes, what it gets is read as frames."""

    def __init__(self, gateway: Gateway, version: Version = Version.V12) -> None:
        self.version = version
        self.transport = FakeTransport()
        self.connection = gateway.open(self.transport)

    def send(self, command: str, headers: dict[str, str] | None = None, body: bytes | str = b"") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.connection.receive(encode_frame(command, (headers or {}).items(), data, version=self.version))

    def frames(self) -> list[Frame]:
        return self.transport.frames(self.version)

    def frame(self) -> Frame:
        frames = self.frames()
        assert len(frames) == 1, frames
        return frames[0]

    def commands(self) -> list[str]:
        return [frame.command for frame in self.frames()]

    async def talk(self, command: str, headers: dict[str, str] | None = None, body: bytes | str = b"") -> list[Frame]:
        """Sends one frame; the answers that come without the passing of time."""
        self.send(command, headers, body)
        await settle()
        return self.frames()

    async def connect(self, token: str = "alice", **headers: str) -> Frame:
        offered = {"accept-version": str(self.version), "Authorization": f"Bearer {token}"}
        (connected,) = await self.talk("CONNECT", offered | headers)
        assert connected.command == "CONNECTED", connected
        return connected

    async def subscribe(self, destination: str, id: str = "sub-0", **headers: str) -> None:
        """Returns with all that came at once already read."""
        receipts = [
            frame.headers["receipt-id"]
            for frame in await self.talk("SUBSCRIBE", {"id": id, "destination": destination, "receipt": id} | headers)
            if frame.command == "RECEIPT"
        ]
        assert receipts == [id]

    @property
    def close_code(self) -> int | None:
        return self.transport.reason.code if self.transport.reason else None

    @property
    def over(self) -> bool:
        return self.transport.reason is not None


class KeptMessages:
    """A history that notes what it is to store."""

    def __init__(self) -> None:
        self.messages: list[NotifyMessage] = []

    async def save_and_publish(self, message: NotifyMessage) -> PushOutcome:
        self.messages.append(message)
        return PushOutcome(message.id, message.receiver, "stored", 0)


class Stage:
    """Everything behind the connections, with time in the hands of the test."""

    def __init__(
        self,
        *,
        routes: DestinationRoutes | None = None,
        authenticator: Authenticator | None = None,
        allow_topic_send: bool = True,
        inbox: int = 300,
        mailbox: Mailbox | None = None,
        relay: Relay | None = None,
        presence: Presence | None = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.hub = Hub()
        numbers = itertools.count(1)
        new_id: Callable[[], str] = lambda: f"m{next(numbers)}"  # noqa: E731
        if mailbox is None:
            mailbox = MemoryMailbox(MemoryStore(MailboxLimits(max_messages=inbox, window_ms=0), self.clock))
        self.mailbox = mailbox
        acks = AckManager(
            hub=self.hub,
            ledger=MemoryLedger(),
            policy=RetryPolicy(wait_s=5, interval_s=5, max_retries=3),
            clock=self.clock,
            log_events=False,
            observer=self.events.append,
        )
        self.acks = acks
        self.delivery = Delivery(
            hub=self.hub,
            acks=acks,
            mailbox=mailbox,
            relay=relay or MemoryBus().relay(),
            log=DeliveryLog(1000),
            clock=self.clock,
            new_id=new_id,
            tasks=TaskOwner(),
            observer=self.events.append,
        )
        all_routes = DestinationRoutes()
        all_routes.include(core_routes)
        if routes is not None:
            all_routes.include(routes)
        self.presence = presence or MemoryPresence()
        self.history = KeptMessages()
        self.publisher = Publisher(
            delivery=self.delivery,
            history=self.history,
            types=TypeRegistry(),
            clock=self.clock,
            lifetime=Lifetime(default_ms=60_000, max_ms=600_000),
            waits=False,
            observer=self.events.append,
        )
        self.gateway = Gateway(
            hub=self.hub,
            delivery=self.delivery,
            publisher=self.publisher,
            presence=self.presence,
            authenticator=authenticator or FakeAuthenticator(),
            routes=all_routes,
            options=ConnectionOptions(**options),
            allow_topic_send=allow_topic_send,
            clock=self.clock,
            limits=ConnectionLimits(LimitOptions(), now=self.clock.monotonic),
            observer=self.events.append,
        )

    @property
    def disconnects(self) -> list[DisconnectReason]:
        """Why sessions have ended, in their order."""
        return [event.reason for event in self.events if isinstance(event, Disconnected)]

    def peer(self, version: Version = Version.V12) -> Peer:
        return Peer(self.gateway, version)

    async def connected(self, user: str = "alice", **headers: str) -> Peer:
        peer = self.peer()
        await peer.connect(user, **headers)
        return peer

    async def push(self, receiver: str, data: object = "hello") -> str:
        message = NotifyMessage(
            id=self.delivery.new_id(),
            type="STRING_MSG",
            receiver=receiver,
            data=data,
            viewed=False,
            created=self.clock.epoch_ms(),
        )
        expires_ms = message.created + 60_000
        await self.delivery.push(Envelope(message=message, encoder=MessageEncoder(message), expires_ms=expires_ms))
        return message.id

    def pass_time(self, seconds: float) -> None:
        """As the gateway's timer does it: one call a tick."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            self.gateway.let_through(self.gateway.held())
            self.gateway.look_after(self.gateway.due())
