"""The same broadcast by other servers: how many deliveries a second of CPU brings, of all processes together.

So many broadcasts are under way at the same time everywhere as `PUBLISHERS` says.
"""

from collections.abc import Callable, Iterator

from bench.load.dialects import Dialect, Step
from bench.load.load import REST_S, Load, Took
from bench.load.wire import request
from bench.machine import LOAD_CORE, tree_cpu_s
from bench.parties import Service, open_service
from bench.peers.servers import Peer, missing_rabbitmq, missing_socketio, running_rabbitmq, running_socketio
from bench.remote import Remote
from bench.requests import BODY
from bench.results import Row, Sample, ratio_at_least, row, take_turns
from bench.scale import Scale
from bench.scenarios.broadcast import PUBLISHERS

UNIT = "deliveries per CPU second"
LONGER = 3  # times as many broadcasts as elsewhere: the clock that says what a process took ticks every 10 ms

# Engine.IO 4: `0{…}` comes unasked, `40` opens a socket, `2` is a ping that wants a `3`.
SOCKETIO = Dialect(
    path="/socket.io/?EIO=4&transport=websocket",
    opening=(Step("40", b"40"),),
    message=b'42["message",',
    ping=b"2",
    pong=b"3",
)
RABBITMQ = Dialect(
    path="/ws",
    opening=(
        Step("CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\nlogin:guest\npasscode:guest\n\n\0", b"CONNECTED\n"),
        Step("SUBSCRIBE\nid:0\ndestination:/topic/bench\nreceipt:ready\n\n\0", b"RECEIPT\n"),
    ),
    message=b"MESSAGE\n",
)
SPOKEN = f"SEND\ndestination:/topic/bench\nreceipt:sent\n\n{BODY}\0"


def socketio(scale: Scale) -> Iterator[Row]:
    """Socket.IO on Node.js, asked by HTTP."""
    name = "Socket.IO (Node.js)"
    if reason := missing_socketio():
        yield Row(scenario="socketio", name=name, unit=UNIT, note=reason)
        return
    with running_socketio() as peer, Remote(Load, core=LOAD_CORE) as load:
        load.call(Load.open, peer.port, scale.sessions, SOCKETIO)
        requests = [request("/broadcast", BODY.encode())]

        def broadcast(count: int) -> Took:
            return load.call(
                Load.pump, peer.port, requests, deliveries=scale.sessions, count=count, rest_s=REST_S,
                connections=PUBLISHERS, window=1,
            )  # fmt: skip

        yield compare(scale, "socketio", name, peer, broadcast, bound=2)


def rabbitmq(scale: Scale) -> Iterator[Row]:
    """RabbitMQ with Web STOMP, asked by a SEND to a topic."""
    name = "RabbitMQ Web STOMP"
    if reason := missing_rabbitmq():
        yield Row(scenario="rabbitmq", name=name, unit=UNIT, note=reason)
        return
    with running_rabbitmq() as peer, Remote(Load, core=LOAD_CORE) as load:
        load.call(Load.open, peer.port, scale.sessions, RABBITMQ)

        def broadcast(count: int) -> Took:
            return load.call(
                Load.say, SPOKEN, deliveries=scale.sessions, count=count, window=PUBLISHERS, rest_s=REST_S
            )  # fmt: skip

        yield compare(scale, "rabbitmq", name, peer, broadcast, bound=10)


def compare(
    scale: Scale, scenario: str, name: str, peer: Peer, broadcast: Callable[[int], Took], *, bound: float
) -> Row:
    """Ours beside the peer, in turns."""
    count = LONGER * scale.broadcasts
    broadcast(max(scale.broadcasts // 2, 3))  # until its compiler has seen everything

    def peers() -> Sample:
        before_s = tree_cpu_s(peer.pid)
        took = broadcast(count)
        return per_cpu_second(took.messages, tree_cpu_s(peer.pid) - before_s, took.wall_s, took.load_share)

    with open_service(scale.sessions) as service:
        taken = take_turns(scale.few_rounds, peer=peers, ours=lambda: ours(service, count))
    return row(
        scenario, f"broadcast, {scale.sessions:,} sessions, 256 B", UNIT, taken["ours"], against=taken["peer"],
        reference_name=name, aim=ratio_at_least(bound),
    )  # fmt: skip


def ours(service: Service, count: int) -> Sample:
    before_s = tree_cpu_s(service.server.process.pid)
    sample = service.broadcast(count, publishers=PUBLISHERS)
    used_s = tree_cpu_s(service.server.process.pid) - before_s
    messages = sample.details["count"]
    return per_cpu_second(messages, used_s, messages / sample.value, sample.load_share)


def per_cpu_second(messages: float, used_s: float, wall_s: float, load_share: float | None) -> Sample:
    return Sample(value=messages / used_s, load_share=load_share, details={"deliveries/s": messages / wall_s})
