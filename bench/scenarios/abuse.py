"""What hostile clients cost: memory of the server, and the time that another client's push has to wait."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.load.attacks import ATTACKS, Attacker
from bench.load.wire import split_response
from bench.machine import LOAD_CORE, rss_kb
from bench.remote import Remote
from bench.requests import broadcast
from bench.results import Row, Sample, Samples, row, value_at_most
from bench.scale import Scale
from bench.servers import pinned_server
from tests.service import Server

PERIOD_S = 0.005  # between two pushes of the other client
CALM_S = 2.0
MAX_MB, MAX_MS = 20, 50
READ_BYTES = 65_536
SETTINGS = {"HTTP_HEAD_TIMEOUT_MS": "3000"}


@dataclass(slots=True)
class Watched:
    """What was seen while something else went on."""

    longest_ms: float = 0.0
    most_kb: float = 0.0


def abuse(scale: Scale) -> Iterator[Row]:
    """Memory and the delay of a push while clients attack: endless heads, silent and half-sent requests."""
    for name in ATTACKS:
        yield from under_attack(name)


def under_attack(name: str) -> Iterator[Row]:
    with pinned_server(**SETTINGS) as server, Remote(Attacker, core=LOAD_CORE) as attacker:
        end_s = time.monotonic() + CALM_S
        calm = watch(server, lambda: time.monotonic() > end_s)
        attack = attacker.begin(Attacker.run, name, server.port)
        seen = watch(server, attacker.has_result)
        attack()
        used_mb = (seen.most_kb - calm.most_kb) / 1024
    yield row(
        "abuse", f"{name}: memory", "MB of RSS", Samples.one(used_mb),
        aim=value_at_most(MAX_MB),
    )  # fmt: skip
    yield row(
        "abuse", f"{name}: longest push of another client", "ms", one(seen), against=one(calm),
        reference_name="without it", aim=value_at_most(MAX_MS),
    )  # fmt: skip


def one(seen: Watched) -> Samples:
    return Samples(rounds=[Sample(value=seen.longest_ms)])


def watch(server: Server, is_over: Callable[[], bool]) -> Watched:
    """Push again and again until it is over."""
    seen = Watched()
    with socket.create_connection(("127.0.0.1", server.port), 60.0) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        push(connection)
        while not is_over():
            start_s = time.perf_counter()
            push(connection)
            seen.longest_ms = max(seen.longest_ms, (time.perf_counter() - start_s) * 1e3)
            seen.most_kb = max(seen.most_kb, rss_kb(server.process.pid))
            time.sleep(PERIOD_S)
    return seen


def push(connection: socket.socket) -> None:
    connection.sendall(broadcast())
    data = b""
    while (response := split_response(data)) is None:
        more = connection.recv(READ_BYTES)
        if not more:
            raise ConnectionError("the server hung up on a client that does no harm")
        data += more
    if not response[0].startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"a push failed: {response[0]!r}")
