"""A relay within one process: of the single node, and of tests with several nodes."""

from collections.abc import Callable, Sequence

from app.delivery.receiver import Receiver
from app.errors import IdConflict
from app.hub.publication import Notice, Publication, Published
from app.messages.destinations import TOPIC_PREFIX
from app.messages.message import Envelope


class MemoryBus:
    """Connects the relays that it creates. One relay stands for one node."""

    def __init__(self) -> None:
        self.relays: list[MemoryRelay] = []
        self.published: dict[str, int] = {}  # for several nodes; a single node has its delivery log

    def relay(self) -> "MemoryRelay":
        relay = MemoryRelay(self)
        self.relays.append(relay)
        return relay


class MemoryRelay:
    """The relay of one node of a MemoryBus. Calls deliver before they return."""

    is_up = True

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._receiver: Receiver | None = None
        self._users: set[str] = set()
        self._topics: set[str] = set()

    def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def publish(self, publication: Publication) -> None:
        destination = publication.destination
        for relay, receiver in self._others():
            if not destination.startswith(TOPIC_PREFIX) or destination in relay._topics:
                await receiver.receive_publication(publication)

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        message_id, published = publication.message_id, self._bus.published
        if once is not None and self._others():
            if published.get(message_id, once) != once:
                raise IdConflict(f"the id {message_id} was pushed before with other content")
            if message_id in published:
                return Published(is_repeat=True)
            published[message_id] = once
        await self.publish(publication)
        return Published()

    def reaches(self, user: str) -> bool:
        return True

    def in_order(self, action: Callable[[], None]) -> None:
        action()

    def barrier(self) -> None:
        """Return None: nothing is queued."""

    def tell(self, notice: Notice) -> None:
        for relay, receiver in self._others():
            if notice.user in relay._users:
                receiver.receive_notice(notice)

    def forward(self, envelope: Envelope, previous: int) -> int:
        """Send a message to the other nodes that watch its receiver. Return their number."""
        watching = [receiver for relay, receiver in self._others() if envelope.receiver in relay._users]
        for receiver in watching:
            receiver.receive_message(envelope, previous)
        return len(watching)

    def watch_user(self, user: str) -> None:
        self._users.add(user)

    def renew_user(self, user: str) -> None:
        """Do nothing: an in-memory subscription cannot be lost."""

    def unwatch_user(self, user: str) -> None:
        self._users.discard(user)

    def watch_topic(self, destination: str) -> None:
        self._topics.add(destination)

    def unwatch_topic(self, destination: str) -> None:
        self._topics.discard(destination)

    def _others(self) -> Sequence[tuple["MemoryRelay", Receiver]]:
        return [(relay, relay._receiver) for relay in self._bus.relays if relay is not self and relay._receiver]
