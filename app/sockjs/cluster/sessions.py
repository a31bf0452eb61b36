"""SockJS sessions of a cluster: whichever node a request meets, it is answered for the one that has the session."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable

from app.errors import Unavailable
from app.sockjs.cluster.borrowing import Borrowing
from app.sockjs.cluster.lending import FindSession, Lending
from app.sockjs.cluster.pace import PacedPost
from app.sockjs.cluster.post import Owners, Post, decode_note
from app.sockjs.session import Busy, Source
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

SILENCE_S = 15.0  # beyond the heart-beat, which crosses nodes as all frames do
REMEMBERED_OWNERS = 20_000
MAX_MOVES = 3

logger = logging.getLogger(__name__)


class SockJsCluster:
    """A node that is asked for a session that nobody has claims it; claims are refreshed every `refresh_s`.

    `patience_s`: how long an endpoint may keep a client waiting that sends too fast.
    """

    def __init__(
        self,
        owners: Owners,
        post: Post,
        *,
        clock: Clock,
        heartbeat_s: float,
        refresh_s: float,
        patience_s: float = 0.0,
    ) -> None:
        self._owners = owners
        self._post = post
        self._clock = clock
        self._refresh_s = refresh_s
        self._refreshed_s = clock.monotonic()
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks = TaskOwner()
        self._known: OrderedDict[str, str] = OrderedDict()
        silence_s = heartbeat_s + SILENCE_S
        self._paced = PacedPost(post)
        self._lending = Lending(self._paced, clock=clock, tasks=self._tasks, silence_s=silence_s)
        self._borrowing = Borrowing(self._paced, tasks=self._tasks, silence_s=silence_s, patience_s=patience_s)
        post.listen(self._receive_soon)

    def serve(self, find: FindSession) -> None:
        """`find` knows the sessions of this node."""
        self._lending.find = find

    def _receive_soon(self, sender: str, content: bytes) -> None:
        """After what Redis has answered before: or a session would be unknown while its claim is being confirmed."""
        asyncio.get_running_loop().call_soon(self._receive, sender, content)

    def _receive(self, sender: str, content: bytes) -> None:
        note = decode_note(content)
        match note.word:
            case "attach":
                self._lending.attach(sender, note)
            case "next":
                self._lending.next(sender, note)
            case "finish":
                self._lending.finish(sender, note)
            case "release":
                self._lending.release(sender, note)
            case "send":
                self._lending.send(sender, note)
            case "mark":
                self._tasks.start(self._paced.answer(sender, note), f"mark of node {sender}")
            case "read":
                self._paced.receive(note)
            case "look":
                pass
            case _:
                self._borrowing.receive(note)

    # Requests at this node

    async def attach(self, session: str, *, once: bool, max_bytes: int) -> Source | None:
        """None: the session is this node's now, if it was not before. Raises Unavailable."""
        gone = ""
        for _ in range(MAX_MOVES):
            owner = self._known.pop(session, None) or await self._owners.claim(session, instead_of=gone)
            if owner == self._post.node:
                return None
            source = await self._borrowing.attach(owner, session, once=once, max_bytes=max_bytes)
            if source is not None:
                self._remember(session, owner)
                return source
            gone = owner
        raise Unavailable("the session moves from node to node", retry_after_s=1)

    async def has(self, session: str) -> bool:
        """Whether a node has the session, as far as this one can tell. Raises Unavailable."""
        return session in self._known or await self._owners.find(session) not in (None, self._post.node)

    async def send(self, session: str, messages: list[str]) -> bool:
        """False: nobody has the session. Raises Busy and Unavailable."""
        known = self._known.get(session)
        if known is not None and await self._send(known, session, messages):
            return True
        owner = await self._owners.find(session)
        return owner not in (None, known, self._post.node) and await self._send(owner, session, messages)

    async def _send(self, owner: str, session: str, messages: list[str]) -> bool:
        answer = await self._borrowing.send(owner, session, messages)
        if answer == "busy":
            raise Busy
        if answer == "taken":
            self._remember(session, owner)
        else:
            self._known.pop(session, None)
        return answer == "taken"

    def _remember(self, session: str, owner: str) -> None:
        self._known[session] = owner
        self._known.move_to_end(session)
        if len(self._known) > REMEMBERED_OWNERS:
            self._known.popitem(last=False)

    # Sessions of this node

    def disown(self, session: str) -> None:
        self._owners.disown(session)

    def tick(self, now: float, sessions: Iterable[str]) -> None:
        self._lending.tick(now)
        self._borrowing.tick(now)
        if now - self._refreshed_s > self._refresh_s and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = self._tasks.start(self._refresh(tuple(sessions)), "claims of SockJS sessions")

    async def _refresh(self, sessions: Iterable[str]) -> None:
        try:
            lost = await self._owners.refresh(sessions)
        except Unavailable as error:
            logger.info("claims of SockJS sessions are not refreshed: %s", error)
            return
        self._refreshed_s = self._clock.monotonic()
        for session in lost:
            logger.info("a SockJS session of this node has become another's")
            if (found := self._lending.find(session)) is not None:
                found.finish()

    # The end

    def drain(self) -> None:
        """Responses with frames of other nodes end."""
        self._borrowing.drain()

    async def aclose(self) -> None:
        """Raises Unavailable."""
        await self._tasks.aclose()
        await self._owners.flush()
