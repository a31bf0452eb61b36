"""How long a push is on its way when the service has much to do, but not too much."""

from collections.abc import Iterator

from bench.load.load import Load
from bench.parties import open_service
from bench.requests import batch
from bench.results import Row, Sample, row, take_turns, value_at_most
from bench.scale import Scale

PUSHES_PER_S = 5_000
BATCH = 50
CONNECTIONS = 16


def latency(scale: Scale) -> Iterator[Row]:
    """Paced pushes to ten thousand sessions: from just before the HTTP request until the client has the message.

    Each session is of a user of its own. The pushes come in batches, as from a back end that has so many.
    """
    sessions, size = scale.many_sessions, min(BATCH, scale.many_sessions)
    with open_service(sessions) as service:
        users = service.users
        requests = [batch(users[start : start + size], size) for start in range(0, sessions - size + 1, size)]
        per_s = PUSHES_PER_S / size * sessions / 10_000
        count = max(round(scale.paced_s * per_s), 2)

        def measure() -> Sample:
            before_s = service.cpu_s
            took = service.load.call(
                Load.pace_pushes, service.server.port, requests, batch=size, count=count, per_s=per_s,
                connections=CONNECTIONS,
            )  # fmt: skip
            assert took.latency is not None, "it was timed"
            return Sample(
                value=took.latency.p99_ms,
                load_share=took.load_share,
                details={
                    "p50 ms": took.latency.p50_ms,
                    "max ms": took.latency.max_ms,
                    "pushes/s": took.messages / took.wall_s,
                    "server share of core": (service.cpu_s - before_s) / took.wall_s,
                },
            )

        taken = take_turns(scale.few_rounds, pushes=measure)
    yield row(
        "latency", f"{sessions:,} sessions, {per_s * size:,.0f} pushes/s in batches of {size}, acked: p99", "ms",
        taken["pushes"], aim=value_at_most(50),
    )  # fmt: skip
