"""Nodes that share SockJS sessions, and between them what Redis is to real ones."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from app.disconnects import DisconnectReason
from app.errors import Unavailable
from app.hub.transport import Transport
from app.sockjs.cluster.sessions import SockJsCluster
from app.sockjs.endpoint import SockJs
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.buffer import Timing
from tests.clock import FakeClock

PLENTY = 1_000_000


class Net:
    """What Redis is to the nodes. `away`: it is not there; `deaf` nodes listen and do not answer.

    What is for a node in `slow` waits in `under_way` until it is brought.
    """

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.receivers: dict[str, Callable[[str, bytes], None]] = {}
        self.away = False
        self.deaf: set[str] = set()
        self.slow: set[str] = set()
        self.under_way: deque[Callable[[], None]] = deque()

    def bring(self) -> None:
        while self.under_way:
            self.under_way.popleft()()

    def check(self) -> None:
        if self.away:
            raise Unavailable("Redis is away")


class FakeChannel:
    def __init__(self, net: Net, node: str) -> None:
        self.node = node
        self._net = net

    async def send(self, node: str, content: bytes) -> bool:
        self._net.check()
        receive = self._net.receivers.get(node)
        if receive is not None and node in self._net.slow:
            self._net.under_way.append(partial(receive, self.node, content))
        elif receive is not None and node not in self._net.deaf:
            asyncio.get_running_loop().call_soon(receive, self.node, content)
        return receive is not None

    def listen(self, receive: Callable[[str, bytes], None]) -> None:
        self._net.receivers[self.node] = receive


class FakeOwners:
    def __init__(self, net: Net, node: str) -> None:
        self._net = net
        self._node = node

    async def claim(self, session: str, *, instead_of: str = "") -> str:
        self._net.check()
        owner = self._net.owners.get(session)
        if owner in (None, instead_of):
            owner = self._net.owners[session] = self._node
        return owner

    async def find(self, session: str) -> str | None:
        self._net.check()
        return self._net.owners.get(session)

    async def refresh(self, sessions: Iterable[str]) -> Iterable[str]:
        self._net.check()
        return [session for session in sessions if await self.claim(session) != self._node]

    def disown(self, session: str) -> None:
        if self._net.owners.get(session) == self._node:
            del self._net.owners[session]

    async def flush(self) -> None: ...


class Recorder:
    """An endpoint that notes what it is told."""

    def __init__(self) -> None:
        self.transports: list[Transport] = []
        self.received: list[bytes] = []
        self.closed_count = 0
        self.after_each: Callable[[], None] = lambda: None

    def open(self, transport: Transport) -> "Recorder":
        self.transports.append(transport)
        return self

    def receive(self, data: bytes) -> None:
        self.received.append(data)
        self.after_each()

    def end(self, reason: DisconnectReason) -> None:
        self.transports[-1].close(reason)

    def closed(self) -> None:
        self.closed_count += 1


class Node:
    def __init__(self, net: Net, name: str, *, hold_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.endpoint = Recorder()
        timing = Timing(heartbeat_s=25, disconnect_delay_s=30)
        cluster = SockJsCluster(
            FakeOwners(net, name),
            FakeChannel(net, name),
            clock=self.clock,
            heartbeat_s=0,
            refresh_s=20,
            hold_s=hold_s,
        )
        self.sockjs = SockJs(self.endpoint, SockJsOptions(timing=timing), clock=self.clock, cluster=cluster)

    async def poll(self, session: str = "s") -> bytes | None:
        """As a polling request does it."""
        source = await self.sockjs.attach(session, name="xhr-polling", once=True, remote=None)
        frame = await source.next(PLENTY)
        await source.finish()
        source.release()
        return frame

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.sockjs.tick(self.clock.monotonic(), 1)
