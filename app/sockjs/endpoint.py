"""A SockJS endpoint: its sessions over HTTP, on this node and on others, and its WebSockets."""

import asyncio
import contextlib
from collections.abc import Iterator

from app.connections.addresses import host_of
from app.connections.limits import ConnectionLimits
from app.connections.refusals import RETRY_AFTER_S, SOCKJS_FULL, Refusal
from app.disconnects import TOO_BIG
from app.errors import Unavailable
from app.sockjs.cluster.sessions import SockJsCluster
from app.sockjs.framing import Framing
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.buffer import Timing
from app.sockjs.session import SockJsSession, Source
from app.timing.clock import Clock
from app.transports.endpoint import Endpoint
from app.transports.websockets import WebSockets

LONGEST_TICK_S = 1.0
TICKS_PER_DELAY = 4
DISPLACED_AT_ONCE = 100  # sessions that make room when all places are taken, so that it is not looked for each time


class UnknownSession(Exception):
    """Raised for a request to a session that does not exist or has ended."""


class SockJs:
    """A SockJS endpoint. `run` must be running: it sends heart-beats and ends sessions whose client has gone.

    Without `cluster`, all sessions are on this node. Without `limits`, an address may open any number of sessions.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: SockJsOptions,
        *,
        clock: Clock,
        cluster: SockJsCluster | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.framed = Framing(endpoint, options)
        self.websockets = WebSockets(options.websockets, limits)
        self._limits = limits
        self.options = options
        self.clock = clock
        self.is_draining = False
        self._sessions: dict[str, SockJsSession] = {}
        self._cluster = cluster
        if cluster is not None:
            cluster.serve(self._sessions.get)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[SockJsSession]:
        return iter(tuple(self._sessions.values()))

    # Requests

    async def attach(self, session_id: str, *, name: str, once: bool, remote: str | None) -> Source:
        """Attach a receiving request, and open its session if it does not exist. Raises Unavailable.

        `name` is the name of the transport. `once`: the request takes one frame.
        """
        session = self._sessions.get(session_id)
        if session is None and self._cluster is not None:
            source = await self._cluster.attach(session_id, once=once, max_bytes=self.options.response_limit)
            if source is not None:
                return source
            session = self._sessions.get(session_id)
        return (session or self._open(session_id, name, remote)).attach()

    async def has(self, session_id: str) -> bool:
        """Return whether the session exists on this node or, as far as it knows, on another. Raises Unavailable."""
        return session_id in self._sessions or (self._cluster is not None and await self._cluster.has(session_id))

    async def receive(self, session_id: str, messages: list[str]) -> None:
        """Take the messages of a sending request. Raises UnknownSession, Busy and Unavailable."""
        session = self._sessions.get(session_id)
        if session is not None:
            await session.receive(messages)
        elif self._cluster is None or not await self._cluster.send(session_id, messages):
            raise UnknownSession

    def refuse_size(self, session_id: str) -> None:
        """End a session whose client sent a body that is too large."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.end(TOO_BIG)

    def _open(self, session_id: str, name: str, remote: str | None) -> SockJsSession:
        refusal = self._refuse(host_of(remote))
        if refusal is not None:
            self._disown(session_id)
            raise Unavailable(refusal.text, retry_after_s=RETRY_AFTER_S)
        session = SockJsSession(name=name, remote=remote, options=self.options, clock=self.clock)
        self._sessions[session_id] = session
        session.open(self.endpoint)
        return session

    def _refuse(self, host: str | None) -> Refusal | None:
        limits = self._limits
        refusal = limits.attempt(host) if limits is not None else None
        if refusal is not None or self._has_place():
            return refusal
        return limits.refuse(SOCKJS_FULL, host) if limits is not None else SOCKJS_FULL

    def _has_place(self) -> bool:
        """Return whether there is room for a session. Ended sessions make room first, then unauthenticated ones."""
        if len(self._sessions) >= self.options.max_sessions:
            self._forget_closed()
        if len(self._sessions) >= self.options.max_sessions and self._limits is not None:
            self._limits.displace_sockjs(DISPLACED_AT_ONCE)
            self._forget_closed()
        return len(self._sessions) < self.options.max_sessions

    def _forget_closed(self) -> None:
        """Drop closed sessions before their clients have been told why. A later request opens a new session."""
        for session_id, session in tuple(self._sessions.items()):
            if session.is_closed:
                session.finish()
                self._forget(session_id)

    # Time

    async def run(self) -> None:
        """Until it is cancelled."""
        tick_s = tick_of(self.options.timing)
        while True:
            await asyncio.sleep(tick_s)
            self.tick(self.clock.monotonic(), tick_s)

    def tick(self, now: float, tick_s: float) -> None:
        """`tick_s` passes until the next call."""
        self.framed.tick(now, tick_s)
        if self._cluster is not None:
            self._cluster.tick(now, self._sessions)
        for session_id, session in tuple(self._sessions.items()):
            if not session.tick(now):
                self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        del self._sessions[session_id]
        self._disown(session_id)

    def _disown(self, session_id: str) -> None:
        if self._cluster is not None:
            self._cluster.disown(session_id)

    # The end

    def drain(self) -> None:
        """End the responses that bring frames of other nodes, so that their clients go to another node."""
        self.is_draining = True
        if self._cluster is not None:
            self._cluster.drain()

    async def aclose(self) -> None:
        """End all sessions at once."""
        for session_id, session in tuple(self._sessions.items()):
            session.finish()
            self._forget(session_id)
        if self._cluster is not None:
            with contextlib.suppress(Unavailable):
                await self._cluster.aclose()


def tick_of(timing: Timing) -> float:
    """Return the timer's interval in seconds, short enough for the shortest delay."""
    return min(LONGEST_TICK_S, timing.heartbeat_s / TICKS_PER_DELAY, timing.disconnect_delay_s / TICKS_PER_DELAY)
