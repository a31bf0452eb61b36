"""A model of the connection of a node to Redis: two queues that move when a test says so.

Everything runs on an event loop whose time stands still unless a test moves it, so that a run can be repeated exactly.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from app.redis.connection import unavailable
from app.redis.subscriptions import Subscriptions
from tests.delivery.model_server import Server

TICK_S = 0.001  # that a command takes
SETTLING_TURNS = 20


class StillLoop(asyncio.SelectorEventLoop):
    """Timers are due when `now_s` is set; the loop never sleeps while `settle` runs."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


async def settle() -> None:
    """Give everything that can go on its turns."""
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)


class Request(NamedTuple):
    execute: Callable[[], Any]
    on_reply: Callable[[Any], None]
    done: "asyncio.Future[Any]"


class Link:
    """Replies and published messages come in the order in which the server made them, as on one RESP3 connection."""

    def __init__(self, server: Server, on_message: Callable[[str, bytes], None]) -> None:
        self.server = server
        self.on_message = on_message
        self.subscribed: set[str] = set()
        self.to_server: deque[Request] = deque()
        self.to_node: deque[Callable[[], None]] = deque()
        self._unanswered: list[asyncio.Future[Any]] = []
        self.lost = False
        server.connections.append(self)

    def send(
        self, execute: Callable[[], Any], on_reply: Callable[[Any], None] = lambda reply: None
    ) -> "asyncio.Future[Any]":
        if self.lost:
            raise unavailable("Redis is away")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unanswered.append(done)
        self.to_server.append(Request(execute, on_reply, done))
        return done

    def change_subscriptions(self, verb: str, channels: Sequence[str]) -> "asyncio.Future[Any]":
        change = self.subscribed.update if verb == "SUBSCRIBE" else self.subscribed.difference_update
        return self.send(lambda: change(channels))

    def send_message(self, channel: str, payload: bytes) -> None:
        self.to_node.append(partial(self.on_message, channel, payload))

    def serve(self, count: int) -> None:
        """The server takes the next commands, at most `count`."""
        for _ in range(min(count, len(self.to_server))):
            request = self.to_server.popleft()
            self.server.clock.advance(TICK_S)
            self.to_node.append(partial(self._settle, request, request.execute()))

    def receive(self, count: int) -> None:
        """The node reads the next replies and messages, at most `count`, in one chunk."""
        for _ in range(min(count, len(self.to_node))):
            self.to_node.popleft()()

    def _settle(self, request: Request, reply: Any) -> None:
        self._unanswered.remove(request.done)
        request.on_reply(reply)
        if not request.done.done():
            request.done.set_result(reply)

    def abort(self) -> None:
        """What is in the queues is lost."""
        self.lost = True
        self.server.connections.remove(self)
        self.to_server.clear()
        self.to_node.clear()
        for done in self._unanswered:
            if not done.done():
                done.set_exception(unavailable("the connection to Redis was lost"))
                done.add_done_callback(lambda done: done.exception())


class Client:
    """What a node uses of `RedisClient`, with its order of events: SUBSCRIBE again, then tell all who want to know."""

    publish_verb = "PUBLISH"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.link: Link | None = None
        self._stale = asyncio.Event()
        self._is_new = False
        self._on_message: Callable[[str, bytes], None] = lambda channel, payload: None
        self._on_up: list[Callable[[Sequence[str]], None]] = []
        link_of: Any = self._link_of
        self.subscriptions = Subscriptions(
            ("SUBSCRIBE", "UNSUBSCRIBE"), at_once=100, connection_of=link_of, request_restore=self._stale.set
        )

    @property
    def is_up(self) -> bool:
        return self.link is not None

    def listen(self, on_message: Callable[[str, bytes], None]) -> None:
        self._on_message = on_message

    def on_up(self, call: Callable[[Sequence[str]], None]) -> None:
        self._on_up.append(call)

    def reaches(self, key: str) -> bool:
        return self.is_up

    def _link_of(self, key: str = "") -> Link:
        if self.link is None:
            raise unavailable("Redis is away")
        return self.link

    def send(
        self, execute: Callable[[], Any], on_reply: Callable[[Any], None] = lambda reply: None
    ) -> "asyncio.Future[Any]":
        return self._link_of().send(execute, on_reply)

    async def publish(self, channel: str, payload: bytes) -> int:
        heard: int = await self.send(lambda: self.server.publish(channel, payload))
        return heard

    async def broadcast(self, message_id: str, payload: bytes) -> int:
        seq: int = await self.send(lambda: self.server.broadcast(message_id, payload))
        return seq

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            is_new, self._is_new = self._is_new, False
            back = await self.subscriptions.restore()
            if back or is_new:
                for call in self._on_up:
                    call(back)

    # The connection comes and goes

    def connect(self) -> None:
        if self.link is None:
            self.link = Link(self.server, lambda channel, payload: self._on_message(channel, payload))
            self._is_new = True
            self._stale.set()

    def cut(self) -> None:
        if self.link is not None:
            link, self.link = self.link, None
            link.abort()
            lost: Any = link
            self.subscriptions.lose(lost)
            self._stale.set()

    def forget(self, channel: str, *, silently: bool) -> None:
        """The server no longer sends what is published on the channel."""
        if self.link is not None and channel in self.link.subscribed:
            self.link.subscribed.discard(channel)
            if not silently:
                self.link.to_node.append(partial(self.subscriptions.drop, channel))
