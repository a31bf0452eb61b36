"""Nodes in one process: what a single node runs on, and what tests of several nodes share."""

from collections.abc import Callable, Sequence
from functools import partial

from app.cluster.overdue import EndOverdue, Verdict, all_are_alive, look_twice
from app.delivery.receiver import Receiver
from app.errors import IdConflict, SessionLimit
from app.hub.publication import Notice, Publication, Published
from app.messages.destinations import TOPIC_PREFIX
from app.messages.message import Envelope


class MemoryBus:
    """Connects the relays that are made from it."""

    def __init__(self) -> None:
        self.relays: list[MemoryRelay] = []
        self.published: dict[str, int] = {}  # by several nodes: one alone has its delivery log

    def relay(self) -> "MemoryRelay":
        relay = MemoryRelay(self)
        self.relays.append(relay)
        return relay


class MemoryRelay:
    """What it does is done before the call returns."""

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

    def turn(self) -> None:
        """Nothing ever waits."""

    def tell(self, notice: Notice) -> None:
        for relay, receiver in self._others():
            if notice.user in relay._users:
                receiver.receive_notice(notice)

    def forward(self, envelope: Envelope, previous: int) -> int:
        """Send it to the other nodes that watch its receiver; return how many they are."""
        watching = [receiver for relay, receiver in self._others() if envelope.receiver in relay._users]
        for receiver in watching:
            receiver.receive_message(envelope, previous)
        return len(watching)

    def watch_user(self, user: str) -> None:
        self._users.add(user)

    def renew_user(self, user: str) -> None:
        """A subscription here cannot be lost."""

    def unwatch_user(self, user: str) -> None:
        self._users.discard(user)

    def watch_topic(self, destination: str) -> None:
        self._topics.add(destination)

    def unwatch_topic(self, destination: str) -> None:
        self._topics.discard(destination)

    def _others(self) -> Sequence[tuple["MemoryRelay", Receiver]]:
        return [(relay, relay._receiver) for relay in self._bus.relays if relay is not self and relay._receiver]


class MemoryPresence:
    """The sessions of one node, which are all there are."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, str | None]] = {}
        self._devices: dict[tuple[str, str], str] = {}
        self.on_replaced: Callable[[str], None] = lambda session_id: None
        self.end_overdue: EndOverdue = all_are_alive

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        while (replaced := self._devices.get((user, client_id or ""))) is None:
            if len(self._users.get(user, ())) < limit:
                break
            if not await look_twice(partial(self._look, user)):
                raise SessionLimit(f"{user} has {limit} sessions, the limit")
        if replaced is not None:
            self.leave(user, replaced)
        self._users.setdefault(user, {})[session_id] = client_id
        if client_id is not None:
            self._devices[user, client_id] = session_id
        return replaced

    async def _look(self, user: str, again: bool) -> Verdict:
        return self.end_overdue(user, again)

    def leave(self, user: str, session_id: str) -> None:
        sessions = self._users.get(user)
        if sessions is None or session_id not in sessions:
            return
        client_id = sessions.pop(session_id)
        if client_id is not None:
            del self._devices[user, client_id]
        if not sessions:
            del self._users[user]
