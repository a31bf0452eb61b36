"""Whether one client that does not read is felt by the others."""

from collections.abc import Iterator

from bench.load.load import Load
from bench.parties import Service, open_service
from bench.requests import broadcast
from bench.results import Row, Sample, ratio_at_most, row, take_turns
from bench.scale import Scale

BODY = "x" * 4_096
PER_S = 20.0
OUTBOX_FRAMES = 10  # so small that a client blocks, fills its outbox and is closed within a round


def stalled(scale: Scale) -> Iterator[Row]:
    """Broadcasts by the clock, with and without a client that does not read, until it is closed.

    The pace leaves half of the core free.
    """
    count = max(round(PER_S * scale.paced_s), 2)
    with open_service(scale.sessions, OUTBOX_MAX_FRAMES=str(OUTBOX_FRAMES)) as service:
        taken = take_turns(
            scale.rounds,
            alone=lambda: paced(service, count),
            beside=lambda: beside_a_stalled_client(service, count),
        )
    yield row(
        "stalled", f"broadcasts to {scale.sessions:,} while one does not read: p99 of the others", "ms",
        taken["beside"], against=taken["alone"], reference_name="the same without it", aim=ratio_at_most(1.1),
    )  # fmt: skip


def paced(service: Service, count: int) -> Sample:
    before_s = service.cpu_s
    took = service.load.call(Load.pace_broadcasts, service.server.port, broadcast(BODY), count=count, per_s=PER_S)
    assert took.latency is not None, "it was timed"
    details = {
        "p50 ms": took.latency.p50_ms,
        "max ms": took.latency.max_ms,
        "server share of core": (service.cpu_s - before_s) / took.wall_s,
    }
    return Sample(value=took.latency.p99_ms, load_share=took.load_share, details=details)


def beside_a_stalled_client(service: Service, count: int) -> Sample:
    service.load.call(Load.stall, service.server.port, "test-stalled")
    sample = paced(service, count)
    cut_off = service.load.call(Load.was_cut_off)
    return Sample(value=sample.value, load_share=sample.load_share, details={**sample.details, "cut off": cut_off})
