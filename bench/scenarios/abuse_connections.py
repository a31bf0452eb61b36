"""Whether a flood of sessions, or of readers that never read, is felt by a user, and what memory it takes."""

from collections.abc import Callable, Iterator

from bench.load.flood import Flood
from bench.load.load import Load
from bench.machine import LOAD_CORE, rss_kb
from bench.parties import Service, open_service
from bench.remote import Remote
from bench.requests import batch, broadcast
from bench.results import Row, Sample, Samples, row, value_at_most
from bench.scale import Scale

SESSIONS = 20
PUSHES_PER_S = 20.0
READERS = 300
BODY = "x" * 4_096
WARM_UP_S = 5.0

Took = tuple[Samples, float, dict[str, float]]


def abuse_connections(scale: Scale) -> Iterator[Row]:
    """Pushes by the clock to users, alone and beside those that mean no good."""
    with open_service(SESSIONS) as service, Remote(Flood, core=LOAD_CORE) as flood:
        port = service.server.port
        paced(service, WARM_UP_S)
        alone = Samples(rounds=[paced(service, scale.flood_s / 2)])

        def sockjs() -> dict[str, float]:
            answers = flooding()
            return {f"answers {status}": float(number) for status, number in answers.items()}

        flooding = flood.begin(Flood.open_sockjs, port, scale.flood_s)
        taken, grown_mb, details = beside(service, scale.flood_s, sockjs)
        yield from rows(f"a flood of SockJS sessions for {scale.flood_s:.0f} s", alone, taken, grown_mb, details)

        flood.call(Flood.stall, port, READERS)
        taken, grown_mb, details = beside(
            service, scale.flood_s, lambda: {"cut off": float(flood.call(Flood.were_cut_off))}, with_broadcasts=True
        )
        yield from rows(f"{READERS} clients that never read", alone, taken, grown_mb, details)


def beside(
    service: Service, seconds: float, end: Callable[[], dict[str, float]], *, with_broadcasts: bool = False
) -> Took:
    before_kb = rss_kb(service.server.process.pid)
    if with_broadcasts:  # or there would be nothing that is not read
        service.load.call(
            Load.pace_broadcasts, service.server.port, broadcast(BODY), count=round(seconds * 5), per_s=10.0
        )
        seconds /= 2
    samples = Samples(rounds=[paced(service, seconds)])
    grown_mb = (rss_kb(service.server.process.pid) - before_kb) / 1024
    return samples, grown_mb, end()


def rows(what: str, alone: Samples, taken: Samples, grown_mb: float, details: dict[str, float]) -> Iterator[Row]:
    yield row(
        "abuse-connections", f"pushes beside {what}: p99", "ms", taken, against=alone, reference_name="alone",
        aim=value_at_most(50),
    )  # fmt: skip
    yield row(
        "abuse-connections", f"growth of RSS by {what}", "MB", Samples.one(grown_mb, details=details),
        aim=value_at_most(20),
    )  # fmt: skip


def paced(service: Service, seconds: float) -> Sample:
    """From just before the request until the client has the message."""
    before_s = service.cpu_s
    took = service.load.call(
        Load.pace_pushes,
        service.server.port,
        [batch([user], 1) for user in service.users],
        batch=1,
        count=max(round(seconds * PUSHES_PER_S), 2),
        per_s=PUSHES_PER_S,
        connections=2,
    )
    assert took.latency is not None, "it was timed"
    details = {
        "p50 ms": took.latency.p50_ms,
        "max ms": took.latency.max_ms,
        "server share of core": (service.cpu_s - before_s) / took.wall_s,
    }
    return Sample(value=took.latency.p99_ms, load_share=took.load_share, details=details)
