"""The measured servers: the service with its sessions, and the bare loop with as many connections."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.load.dialects import BARE, Dialect, stomp
from bench.load.load import PIPELINED, REST_S, Load
from bench.load.wire import frame_of_size
from bench.machine import LOAD_CORE, SERVER_CORE, cpu_s
from bench.programs.bare import BareLoop
from bench.remote import Remote
from bench.requests import broadcast
from bench.results import Sample, rate
from bench.servers import SERVICE, pinned_server
from tests.service import Server

LOOK_S = 0.25
QUIET = 0.05  # of a core
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Each has a load generator of its own; those that have nothing to do only answer pings."""

    server: Server
    load: Remote[Load]
    sessions: int

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.server.process.pid)

    def broadcast(self, count: int, *, acknowledge: bool = False, publishers: int = 1) -> Sample:
        """Several `publishers` each wait for their answer; one has the next request under way before that."""
        return self.pump(
            [broadcast()], deliveries=self.sessions, count=count, acknowledge=acknowledge, publishers=publishers
        )

    def pump(
        self,
        requests: Sequence[bytes],
        *,
        deliveries: int,
        count: int,
        acknowledge: bool = False,
        publishers: int = 1,
    ) -> Sample:
        """Deliveries a second of so many requests, one behind the other."""
        before_s = self.cpu_s
        took = self.load.call(
            Load.pump,
            self.server.port,
            requests,
            deliveries=deliveries,
            count=count,
            acknowledge=acknowledge,
            connections=publishers,
            window=PIPELINED if publishers == 1 else 1,
            rest_s=0.0 if acknowledge else REST_S,
        )
        return rate(took, took.messages, self.cpu_s - before_s)

    def push_for(self, seconds: float, requests: Sequence[bytes], *, connections: int, batch: int = 1) -> Sample:
        """Acknowledged pushes a second, each to one session."""
        before_s = self.cpu_s
        took = self.load.call(
            Load.pump,
            self.server.port,
            requests,
            deliveries=batch,
            acknowledge=True,
            connections=connections,
            window=1,
            seconds=seconds,
        )
        return rate(took, took.messages, self.cpu_s - before_s)

    @property
    def users(self) -> Sequence[str]:
        """One for each session."""
        return [stomp().user_of(number) for number in range(self.sessions)]

    def last_message_id(self) -> str:
        """That some session has acknowledged."""
        return self.load.call(Load.last_message_id)

    def frame_bytes(self) -> int:
        """Of the messages that came last."""
        return self.load.call(Load.frame_bytes)


@contextmanager
def open_service(
    sessions: int, dialect: Dialect | None = None, program: Sequence[str] = SERVICE, **env: str
) -> Iterator[Service]:
    """With so many sessions that have had their first message, so that nothing is done for the first time."""
    with pinned_server(program, **env) as server, Remote(Load, core=LOAD_CORE) as load:
        load.call(Load.open, server.port, sessions, dialect)
        wait_until_quiet(server)
        service = Service(server=server, load=load, sessions=sessions)
        service.broadcast(3)
        yield service
        load.call(Load.close)


def wait_until_quiet(server: Server) -> None:
    """A session that has just come is still given what waits for it, also when nothing does."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        before_s = cpu_s(server.process.pid)
        time.sleep(LOOK_S)
        if cpu_s(server.process.pid) - before_s < QUIET * LOOK_S:
            return
    raise TimeoutError(f"the server was still busy {TIMEOUT_S:.0f} s after its sessions had come")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    loop: Remote[BareLoop]
    load: Remote[Load]
    sessions: int

    def broadcast(self, count: int, frame_bytes: int) -> Sample:
        """Frames of the same size, read in the same way."""
        frame = frame_of_size(frame_bytes)
        read = self.load.begin(Load.read, frame_bytes, self.sessions * count)
        sent = self.loop.call(BareLoop.send, frame, count)
        took = read()
        took.start_s = sent.start_s
        return rate(took, took.messages, sent.cpu_s)


@contextmanager
def open_bare(sessions: int) -> Iterator[Bare]:
    with Remote(BareLoop, core=SERVER_CORE) as loop, Remote(Load, core=LOAD_CORE) as load:
        port = loop.call(BareLoop.port)
        accepted = loop.begin(BareLoop.accept, sessions)
        load.call(Load.open, port, sessions, BARE)
        accepted()
        yield Bare(loop=loop, load=load, sessions=sessions)
