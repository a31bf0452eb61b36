"""Nodes on links of the model, and phones that note whatever breaks a promise."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from app.cluster.relay.redis import RedisRelay
from app.cluster.wire import encode_publication
from app.delivery.streams import Stream
from app.disconnects import RESTART, DisconnectReason
from app.hub.publication import Publication, Published
from app.messages.destinations import USER_MESSAGES
from app.stomp.events import Subscription
from tests.delivery.model_link import Client
from tests.delivery.model_mailbox import LinkMailbox, SharedArchive
from tests.delivery.model_server import Server
from tests.delivery.node import Node


class Broken(AssertionError):
    """A promise that was not kept."""


class Promises(logging.Handler):
    """What was broken, also where the code under test would swallow an exception; an error in the log counts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.broken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.broken.append(self.format(record))

    def expect(self, kept: bool, text: str) -> None:
        if not kept:
            self.broken.append(text)

    def check(self) -> None:
        """Raises Broken."""
        if self.broken:
            raise Broken("; ".join(self.broken))


class ModelRelay(RedisRelay):
    """Does not ask which nodes a broadcast has reached: the model has no list of the members."""

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        client: Any = self._client
        payload = self._publications + encode_publication(publication)
        return Published(seq=await client.broadcast(publication.message_id, payload))


class ModelNode:
    """`lowest` has, for each user with a listening session, the oldest point from which one of them needs all."""

    def __init__(
        self, name: str, server: Server, archive: SharedArchive, mailbox: Callable[[Client, str], LinkMailbox]
    ) -> None:
        self.name = name
        self.client = Client(server)
        client: Any = self.client
        self.relay = ModelRelay(client, client, node=name, clock=server.clock)
        self.mailbox = mailbox(self.client, name)
        self.node = Node(
            clock=server.clock, mailbox=self.mailbox, relay=self.relay, archive=archive, archive_limit=1_000
        )
        self.delivery = self.node.delivery
        self.lowest: dict[str, int] = {}
        self._tasks = [asyncio.ensure_future(run) for run in (self.client.run(), self.relay.run())]

    def check_head(self, user: str) -> None:
        """As the refresh of the user's presence does."""
        if self.client.is_up:
            store = self.client.server
            self.client.send(lambda: store.store.head(user), lambda head: self.delivery.streams.read(user, head))

    @property
    def streams(self) -> dict[str, Stream]:
        return self.delivery.streams._streams

    def is_listening(self, user: str) -> bool:
        return self.node.hub.is_listening(user, USER_MESSAGES)

    def note_since(self, user: str, since: int) -> None:
        self.lowest[user] = min(since, self.lowest.get(user, since))

    def forget_unheard(self) -> None:
        for user in [user for user in self.lowest if not self.is_listening(user)]:
            del self.lowest[user]


class Phone:
    """A session with what it received: ids by their first reception, and which of them it has acknowledged.

    `since`: the seq after which it must receive everything; None until its SUBSCRIBE has its RECEIPT.
    """

    def __init__(self, node: ModelNode, user: str, promises: Promises) -> None:
        self.node = node
        self.user = user
        self.device = node.node.device(user)
        self.session = self.device.session
        self.promises = promises
        self.session.end = self._end
        self.device.transport.on_send = self.observe
        self.received: dict[str, int] = {}  # and how many disasters there were before
        self.unmarked: set[str] = set()
        self.overtaking: set[str] = set()
        self.on_broadcast: Callable[[Phone, str], None] = lambda phone, id: None
        self.acked: set[str] = set()
        self.confirmed: set[str] = set()
        self.not_due: set[str] = set()  # confirmed by another session before this one subscribed
        self.acked_before: set[str] = set()  # by any session, before this one subscribed
        self.head_before = 0  # seq of the latest message before it subscribed
        self.disasters = 0  # of the server, before it subscribed
        self.joins_undone = False  # the cursor of its node is from a history that a disaster has undone
        self.is_subscribed = self.has_gone = False
        self.listens = 0  # how often it has subscribed

    @property
    def is_listening(self) -> bool:
        return bool(self.session.listens_to(USER_MESSAGES))

    def subscribe(self, not_due: set[str], acked: set[str]) -> None:
        """The same steps as the gateway's."""
        delivery = self.node.delivery
        self.acked_before = set(acked)
        stream = self.node.streams.get(self.user)
        self.joins_undone = stream is not None and self.node.client.server.has_undone(self.user, stream.cursor)
        self.head_before = self.node.client.server.store.head(self.user)
        server = self.node.client.server
        stored = {id for id in not_due if server.store.is_acknowledged(self.user, id)}  # a disaster may have undone it
        self.not_due, self.disasters = stored - self.unmarked, server.disasters
        self.listens += 1
        subscription = Subscription("0", USER_MESSAGES)
        self.device.subscriptions.append(subscription)
        self.node.node.hub.subscribe(self.session, subscription)
        delivery.begin_replay(self.session)
        watching = delivery.watch(self.session, USER_MESSAGES)
        opening = delivery.replay(self.session) if watching is None else self._replay_later(watching)
        asyncio.ensure_future(self._receipt(opening, self.listens))  # noqa: RUF006  # the loop of a test is short

    async def _replay_later(self, watching: Awaitable[None]) -> None:
        await watching
        if (reading := self.node.delivery.replay(self.session)) is not None:
            await reading

    async def _receipt(self, opening: Awaitable[None] | None, listens: int) -> None:
        if opening is not None:
            await opening
        if self.listens == listens and self.is_listening:
            self.is_subscribed = True
            self.promises.expect(self.session.since is not None, "RECEIPT before the mailbox was read")

    def unsubscribe(self) -> None:
        self.is_subscribed = False
        self.device.unsubscribe()

    def leave(self) -> None:
        self.has_gone, self.is_subscribed = True, False
        self.device.leave()

    def _end(self, reason: DisconnectReason) -> None:
        """A connection leaves the hub at once."""
        self.observe()
        self.promises.expect(reason is RESTART, f"ended with {reason.text}")
        server, since = self.node.client.server, self.node.lowest.get(self.user, self.session.since or 0)
        missing = server.floor(self.user) > since
        undone = server.disasters > self.disasters or self.joins_undone
        self.promises.expect(missing or undone, "1012 though everything could be known")
        self.leave()

    # What it receives and answers

    def observe(self) -> None:
        server = self.node.client.server
        for message in self.device.received():
            is_confirmed = message.id in self.confirmed - server.lost
            self.promises.expect(not is_confirmed, f"{message.id} was sent after its acknowledgement was confirmed")
            if self.disasters == server.disasters:
                text = f"{message.id} was acknowledged before {self.session.id} of {self.node.name} subscribed"
                self.promises.expect(message.id not in self.not_due - server.lost, text)
            if message.attempt == 1:
                self.promises.expect(message.id not in self.unmarked, f"{message.id} came twice without a mark")
                self.unmarked.add(message.id)
            if message.body["receiver"] is None:
                self.on_broadcast(self, message.id)
            self.received.setdefault(message.id, server.disasters)

    def acknowledge(self, message_id: str, on_confirmed: Callable[[], None]) -> None:
        acknowledgements = self.node.delivery.acknowledgements
        self.acked.add(message_id)
        acknowledgements.acknowledge(self.session, message_id)
        confirmation = acknowledgements.confirmation(self.session, message_id)

        def confirm(done: object = None) -> None:
            self.observe()
            self.confirmed.add(message_id)
            on_confirmed()

        if confirmation is None:
            confirm()
        else:
            asyncio.ensure_future(confirmation).add_done_callback(confirm)
