"""SockJS sessions of a cluster: a request at any node reaches the node that owns its session."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import assert_never

from app.errors import Unavailable
from app.sockjs.cluster.messages import (
    Attach,
    Attached,
    End,
    Finish,
    Forward,
    Frame,
    Full,
    Mark,
    MarkRead,
    Message,
    Next,
    NodeChannel,
    NotFound,
    Owners,
    Ping,
    Release,
    Taken,
    decode,
)
from app.sockjs.cluster.owner import FindSession, Owner
from app.sockjs.cluster.proxy import Proxy
from app.sockjs.cluster.window import WindowedChannel
from app.sockjs.session import Busy, Source
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

SILENCE_S = 15.0  # beyond the heart-beat, which crosses nodes as all frames do
REMEMBERED_OWNERS = 20_000
MAX_MOVES = 3

logger = logging.getLogger(__name__)


class SockJsCluster:
    """A node that is asked for a session without owner claims it. Leases are renewed every `refresh_s`.

    `hold_s`: how long the rate limit may hold a sending request.
    """

    def __init__(
        self,
        owners: Owners,
        channel: NodeChannel,
        *,
        clock: Clock,
        heartbeat_s: float,
        refresh_s: float,
        hold_s: float = 0.0,
    ) -> None:
        self._owners = owners
        self._node = channel.node
        self._clock = clock
        self._refresh_s = refresh_s
        self._refreshed_s = clock.monotonic()
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks = TaskOwner()
        self._known: OrderedDict[str, str] = OrderedDict()
        silence_s = heartbeat_s + SILENCE_S
        self._channel = WindowedChannel(channel)
        self._owner = Owner(self._channel, lambda _: None, clock=clock, tasks=self._tasks, silence_s=silence_s)
        self._proxy = Proxy(self._channel, tasks=self._tasks, silence_s=silence_s, hold_s=hold_s)
        channel.listen(self._receive_soon)

    def serve(self, find: FindSession) -> None:
        """Serve the sessions of this node, which `find` returns, to other nodes."""
        self._owner.find = find

    def _receive_soon(self, sender: str, content: bytes) -> None:
        """Handle a message after the replies of Redis before it, or a session would be unknown while it is claimed."""
        asyncio.get_running_loop().call_soon(self._receive, sender, content)

    def _receive(self, sender: str, content: bytes) -> None:
        try:
            message = decode(content)
        except ValueError as error:
            logger.warning("a message of node %s about a SockJS session cannot be read: %s", sender, error)
            return
        self._dispatch(sender, message)

    def _dispatch(self, sender: str, message: Message) -> None:
        match message:
            case Attach():
                self._owner.attach(sender, message)
            case Next():
                self._owner.next(sender, message)
            case Finish():
                self._owner.finish(sender, message.number)
            case Release():
                self._owner.release(sender, message.number)
            case Forward():
                self._owner.forward(sender, message)
            case Attached() | NotFound() | Frame() | End() | Taken() | Full():
                self._proxy.receive(message)
            case Mark():
                self._tasks.start(self._channel.confirm(sender, message), f"mark of node {sender}")
            case MarkRead():
                self._channel.receive(message)
            case Ping():
                pass
            case _:
                assert_never(message)

    # Requests at this node

    async def attach(self, session: str, *, once: bool, max_bytes: int) -> Source | None:
        """Attach a receiving request. Return None if this node owns the session, now or before. Raises Unavailable."""
        gone = ""
        for _ in range(MAX_MOVES):
            owner = self._known.pop(session, None) or await self._owners.claim(session, instead_of=gone)
            if owner == self._node:
                return None
            source = await self._proxy.attach(owner, session, once=once, max_bytes=max_bytes)
            if source is not None:
                self._remember(session, owner)
                return source
            gone = owner
        raise Unavailable("the session moves from node to node", retry_after_s=1)

    async def has(self, session: str) -> bool:
        """Return whether another node owns the session, as far as this one knows. Raises Unavailable."""
        return session in self._known or await self._owners.find(session) not in (None, self._node)

    async def send(self, session: str, messages: list[str]) -> bool:
        """Forward a sending request. Return False if no node owns the session. Raises Busy and Unavailable."""
        known = self._known.get(session)
        if known is not None and await self._send(known, session, messages):
            return True
        owner = await self._owners.find(session)
        return owner not in (None, known, self._node) and await self._send(owner, session, messages)

    async def _send(self, owner: str, session: str, messages: list[str]) -> bool:
        reply = await self._proxy.forward(owner, session, messages)
        if isinstance(reply, Full):
            raise Busy
        if isinstance(reply, Taken):
            self._remember(session, owner)
        else:
            self._known.pop(session, None)
        return isinstance(reply, Taken)

    def _remember(self, session: str, owner: str) -> None:
        self._known[session] = owner
        self._known.move_to_end(session)
        if len(self._known) > REMEMBERED_OWNERS:
            self._known.popitem(last=False)

    # Sessions of this node

    def disown(self, session: str) -> None:
        self._owners.disown(session)

    def tick(self, now: float, sessions: Iterable[str]) -> None:
        self._owner.tick(now)
        self._proxy.tick(now)
        if now - self._refreshed_s > self._refresh_s and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = self._tasks.start(self._refresh(tuple(sessions)), "leases of SockJS sessions")

    async def _refresh(self, sessions: Iterable[str]) -> None:
        try:
            lost = await self._owners.refresh(sessions)
        except Unavailable as error:
            logger.info("leases of SockJS sessions are not renewed: %s", error)
            return
        self._refreshed_s = self._clock.monotonic()
        for session in lost:
            logger.info("a SockJS session of this node has another owner now")
            if (found := self._owner.find(session)) is not None:
                found.finish()

    # The end

    def drain(self) -> None:
        """End the responses that bring frames of other nodes."""
        self._proxy.drain()

    async def aclose(self) -> None:
        """End the tasks, and write what waits. Raises Unavailable."""
        await self._tasks.aclose()
        await self._owners.flush()
