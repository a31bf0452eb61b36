"""The relay over Redis pub/sub: one channel for all nodes, one per topic, and one per user."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from app.cluster.keys import EVERYBODY, topic_channel, user_channel
from app.cluster.members import Members
from app.cluster.relay.broadcaster import Broadcaster, Once
from app.cluster.wire import (
    Kind,
    NodeMessage,
    decode_envelope,
    decode_notice,
    decode_publication,
    encode_notice,
    encode_publication,
    label,
    parse_node_message,
)
from app.delivery.receiver import Receiver
from app.errors import Unavailable
from app.hub.publication import Notice, Publication, Published
from app.messages.destinations import TOPIC_PREFIX
from app.redis.client import RedisClient
from app.timing.clock import Clock, SystemClock
from app.timing.tasks import TaskOwner

HIGH_WATERMARK, LOW_WATERMARK = 10_000, 5_000  # waiting messages at which reading from Redis stops and resumes

logger = logging.getLogger(__name__)


class RedisRelay:
    """The relay of one node. `run` must be running. `on_other` gets the messages for other parts of the node."""

    def __init__(self, client: RedisClient, members: Members, *, node: str, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._broadcaster = Broadcaster(client, members, node=node)
        self._node = node
        self._receiver: Receiver | None = None
        self._users: dict[str, str] = {}  # by channel
        self._waiting: deque[NodeMessage | asyncio.Future[None] | Callable[[], None]] = deque()
        self._wake = asyncio.Event()
        self._busy = False
        self._paused = False
        self._tasks = TaskOwner()
        self._publications = label(Kind.PUBLICATION, node)
        self._notices = label(Kind.NOTICE, node)
        self.on_other: Callable[[NodeMessage], None] = lambda message: None
        client.listen(self._receive)
        client.on_up(self._resume)
        client.subscriptions.on_lost = self._lose
        client.subscriptions.subscribe(EVERYBODY)

    @property
    def is_up(self) -> bool:
        return self._client.is_up

    def reaches(self, user: str) -> bool:
        return self._client.reaches(user_channel(user))

    def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver

    # Sending

    async def publish(self, publication: Publication) -> None:
        await self._client.publish(_channel(publication), self._publications + encode_publication(publication))

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        payload = self._publications + encode_publication(publication)
        mark = None if once is None else Once(publication.message_id, once)
        return await self._broadcaster.broadcast(_channel(publication), payload, mark)

    def tell(self, notice: Notice) -> None:
        self._tasks.start(self._tell(notice), f"notice to {notice.user}")

    async def _tell(self, notice: Notice) -> None:
        try:
            await self._client.publish(user_channel(notice.user), self._notices + encode_notice(notice))
        except Unavailable as error:
            logger.warning("other nodes were not told of a change: %s", error)

    def in_order(self, action: Callable[[], None]) -> None:
        if self._busy:
            self._waiting.append(action)
        else:
            action()

    def barrier(self) -> Awaitable[None] | None:
        if not self._busy:
            return None
        barrier: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(barrier)
        return barrier

    # Watching

    def watch_user(self, user: str) -> Awaitable[None] | None:
        channel = user_channel(user)
        self._users[channel] = user
        return self._client.subscriptions.subscribe(channel)

    def renew_user(self, user: str) -> None:
        self._client.subscriptions.renew(user_channel(user))

    def unwatch_user(self, user: str) -> None:
        if self._users.pop(user_channel(user), None) is not None:
            self._client.subscriptions.unsubscribe(user_channel(user))

    def watch_topic(self, destination: str) -> Awaitable[None] | None:
        return self._client.subscriptions.subscribe(topic_channel(destination))

    def unwatch_topic(self, destination: str) -> None:
        self._client.subscriptions.unsubscribe(topic_channel(destination))

    def _lose(self, channels: Sequence[str]) -> None:
        if self._receiver is not None and (users := self._users_of(channels)):
            self._receiver.lose(users)

    def _resume(self, channels: Sequence[str]) -> None:
        if self._receiver is not None and (users := self._users_of(channels)):
            self._receiver.resume(users)

    def _users_of(self, channels: Sequence[str]) -> Sequence[str]:
        return [self._users[channel] for channel in channels if channel in self._users]

    # Receiving

    def _receive(self, channel: str, payload: bytes) -> None:
        try:
            message = parse_node_message(payload)
        except ValueError as error:  # other programs may publish there
            logger.debug("ignored an invalid message on %s: %s", channel, error)
            return
        if message.sender == self._node:
            return
        if message.kind in (Kind.QUESTION, Kind.ANSWER, Kind.DIRECT, Kind.MEMBERS):
            self.on_other(message)
        elif self._busy or message.kind is Kind.PUBLICATION:
            self._hold(message)
        else:
            self._deliver(message)

    def _hold(self, message: NodeMessage) -> None:
        """Queue a message behind the current fan-out, to keep the order."""
        self._busy = True
        self._waiting.append(message)
        self._wake.set()
        if len(self._waiting) >= HIGH_WATERMARK:
            self._paused = True  # repeated for connections opened since
            self._client.pause_reading()

    async def run(self) -> None:
        """Deliver queued messages until cancelled."""
        try:
            await self._handle_all()
        finally:
            await self._tasks.aclose()

    async def _handle_all(self) -> None:
        while True:
            self._busy = False
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._handle(self._waiting.popleft())
                if self._paused and len(self._waiting) <= LOW_WATERMARK:
                    self._paused = False
                    self._client.resume_reading()

    async def _handle(self, item: NodeMessage | asyncio.Future[None] | Callable[[], None]) -> None:
        try:
            if isinstance(item, asyncio.Future):
                if not item.done():  # not cancelled
                    item.set_result(None)
                    await asyncio.sleep(0)  # the waiter runs before later messages
            elif not isinstance(item, NodeMessage):
                item()
            elif item.kind is Kind.PUBLICATION and self._receiver is not None:
                await self._receiver.receive_publication(decode_publication(item.content))
            else:
                self._deliver(item)
        except Exception:  # the outer edge: a failing message must not stop those behind it
            logger.exception("a message of another node could not be handled")

    def _deliver(self, message: NodeMessage) -> None:
        if self._receiver is None:
            return
        if message.kind is Kind.MESSAGE:
            self._receiver.receive_message(*decode_envelope(message.content, self._clock.epoch_ms()))
        elif message.kind is Kind.NOTICE:
            self._receiver.receive_notice(decode_notice(message.content))


def _channel(publication: Publication) -> str:
    destination = publication.destination
    return topic_channel(destination) if destination.startswith(TOPIC_PREFIX) else EVERYBODY
