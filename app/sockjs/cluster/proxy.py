"""The proxy side: forwards requests at this node to the owners of their sessions."""

import asyncio
import itertools
import json
import logging
from collections import deque

from app.errors import Unavailable
from app.sockjs.cluster.messages import (
    Attach,
    Attached,
    End,
    Finish,
    Forward,
    Frame,
    Full,
    Next,
    NotFound,
    Ping,
    Release,
    Reply,
    Request,
    Taken,
)
from app.sockjs.cluster.window import WindowedChannel
from app.timing.tasks import TaskOwner

REPLY_TIMEOUT_S = 3.0  # for an owner to say whether it has a session
PING_PERIOD_S = 5.0
TAKE_TIMEOUT_S = 20.0  # for a session to take messages, beside the time for which the rate limit holds them back

logger = logging.getLogger(__name__)


class NodeEnded(Exception):
    """The node that owned the session has ended."""


class Proxy:
    """`silence_s`: an owner silent for longer has ended. `hold_s`: how long the rate limit may hold a request."""

    def __init__(self, channel: WindowedChannel, *, tasks: TaskOwner, silence_s: float, hold_s: float) -> None:
        self._channel = channel
        self._tasks = tasks
        self._hold_s = hold_s
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Reply]] = {}
        self._sources: dict[int, RemoteSource] = {}
        self._is_draining = False
        self._pinged_s = 0.0
        self._missed: set[str] = set()
        self.silence_s = silence_s

    async def attach(self, owner: str, session: str, *, once: bool, max_bytes: int) -> "RemoteSource | None":
        """Attach a receiving request. Return None if the owner has ended or lacks the session. Raises Unavailable."""
        number = next(self._numbers)
        source = self._sources[number] = RemoteSource(self, owner, number, once=once)
        is_known = False
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self.send_to(owner, Attach(number, session, once, max_bytes))
                is_known = await source.is_known()
        except (NodeEnded, TimeoutError) as error:
            logger.info("node %s does not answer for a session: %s", owner, error)
        finally:
            if not is_known:
                source.release()
        if self._is_draining:
            source.give_back()
        return source if is_known else None

    async def forward(self, owner: str, session: str, messages: list[str]) -> Taken | Full | NotFound:
        """Forward a sending request. NotFound also if the owner has ended. Raises Unavailable."""
        request = Forward(next(self._numbers), session, json.dumps(messages).encode())
        try:
            reply = await self._ask(owner, request, TAKE_TIMEOUT_S + self._hold_s)
        except NodeEnded:
            return NotFound(request.number)
        except TimeoutError:
            raise Unavailable("the node that has the session does not answer", retry_after_s=1) from None
        return reply if isinstance(reply, Taken | Full) else NotFound(request.number)

    async def _ask(self, owner: str, request: Forward | Finish, timeout_s: float) -> Reply:
        """Send a request and return its reply. Raises NodeEnded, TimeoutError and Unavailable."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[request.number] = reply
        try:
            async with asyncio.timeout(timeout_s):
                await self.send_to(owner, request)
                return await reply
        finally:
            del self._asked[request.number]

    def receive(self, reply: Reply) -> None:
        source, asked = self._sources.get(reply.number), self._asked.get(reply.number)
        if source is not None:
            source.receive(reply)
        elif asked is not None and not asked.done():
            asked.set_result(reply)

    def drain(self) -> None:
        """Give back all sessions, so that their responses end and the clients go to another node."""
        self._is_draining = True
        for source in tuple(self._sources.values()):
            source.give_back()

    # Time

    def tick(self, now: float) -> None:
        if now - self._pinged_s > PING_PERIOD_S:
            self._pinged_s = now
            self._tasks.start(self._ping_owners(), "ping of the owners of sessions")

    async def _ping_owners(self) -> None:
        """End the requests whose owner has ended: it missed two pings, for one may be lost by accident."""
        missed = set()
        for owner in {source.owner for source in self._sources.values()}:
            try:
                await self.send_to(owner, Ping())
            except NodeEnded:
                missed.add(owner)
            except Unavailable:  # no node can be reached
                break
        for source in tuple(self._sources.values()):
            if source.owner in self._missed & missed:
                source.release()
        self._missed = missed

    # For remote sources

    async def send_to(self, owner: str, message: Request | Ping) -> None:
        """Raises NodeEnded and Unavailable."""
        if not await self._channel.send(owner, message):
            raise NodeEnded("it does not listen")

    def remove(self, source: "RemoteSource") -> bool:
        """Return False if it was removed before."""
        return self._sources.pop(source.number, None) is not None

    async def finish(self, source: "RemoteSource") -> None:
        """Return once the owner knows that the request has ended."""
        try:
            await self._ask(source.owner, Finish(source.number), REPLY_TIMEOUT_S)
        except (NodeEnded, Unavailable, TimeoutError) as error:
            logger.info("node %s keeps a request until it times out: %s", source.owner, error)

    def tell(self, source: "RemoteSource", message: Finish | Release) -> None:
        self._tasks.start(self._tell(source, message), f"end of a request to node {source.owner}")

    async def _tell(self, source: "RemoteSource", message: Finish | Release) -> None:
        try:
            await self.send_to(source.owner, message)
        except (NodeEnded, Unavailable) as error:
            logger.info("node %s keeps a request until it times out: %s", source.owner, error)
            source.release()


class RemoteSource:
    """The frames of a session of another node, for one receiving request."""

    def __init__(self, proxy: Proxy, owner: str, number: int, *, once: bool) -> None:
        self.owner = owner
        self.number = number
        self._proxy = proxy
        self._once = once
        self._replies: deque[Reply] = deque()
        self._wake = asyncio.Event()
        self._is_waiting = True  # for a requested frame; attaching requests the first
        self._is_over = False

    def receive(self, reply: Reply) -> None:
        self._replies.append(reply)
        self._wake.set()

    async def is_known(self) -> bool:
        """Wait for the first reply. Return whether the owner has the session."""
        await self._wake.wait()
        if self._is_over:
            return False
        if isinstance(self._replies[0], Attached | NotFound):
            return isinstance(self._take(), Attached)
        return True

    def _take(self) -> Reply:
        """Take the next reply. The last possible one ends the request."""
        reply = self._replies.popleft()
        if isinstance(reply, NotFound | End) or (isinstance(reply, Frame) and self._once):
            self._proxy.remove(self)
        return reply

    # The port Source

    async def next(self, max_bytes: int) -> bytes | None:
        try:
            async with asyncio.timeout(self._proxy.silence_s):
                return await self._next(max_bytes)
        except (NodeEnded, Unavailable, TimeoutError) as error:
            logger.info("node %s has ended with a session: %s", self.owner, error)
            self.release()  # a frame may be lost
            return None

    async def _next(self, max_bytes: int) -> bytes | None:
        if not (self._is_waiting or self._replies):
            self._is_waiting = True
            await self._proxy.send_to(self.owner, Next(self.number, max_bytes))
        while not self._replies and not self._is_over:
            self._wake.clear()
            await self._wake.wait()
        if self._is_over:
            return None
        self._is_waiting = False
        reply = self._take()
        return reply.data if isinstance(reply, Frame) else None

    async def finish(self) -> None:
        if self._proxy.remove(self):
            await self._proxy.finish(self)

    def release(self) -> None:
        self._is_over = True
        self._wake.set()
        if self._proxy.remove(self):
            self._proxy.tell(self, Release(self.number))

    def give_back(self) -> None:
        """Finish early. The owner replies End, after a frame that may be on its way."""
        self._proxy.tell(self, Finish(self.number))
