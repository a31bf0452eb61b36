"""Many that come and go."""

from collections.abc import Iterator

from bench.load.load import Load
from bench.machine import LOAD_CORE, cpu_s, rss_kb
from bench.remote import Remote
from bench.results import Row, Sample, Samples, ratio_at_most, row, take_turns, value_at_most
from bench.scale import Scale
from bench.servers import pinned_server

WARM_UP = 2_000


def storm(scale: Scale) -> Iterator[Row]:
    """All connect and subscribe, 500 at a time, and when the last is there all disconnect."""
    with pinned_server() as server, Remote(Load, core=LOAD_CORE) as load:

        def measure() -> Sample:
            before_s = cpu_s(server.process.pid)
            took = load.call(Load.storm, server.port, scale.many_sessions)
            server_s = cpu_s(server.process.pid) - before_s
            return Sample(
                value=took.wall_s,
                load_share=took.load_share,
                details={
                    "errors": sum(took.errors.values()),
                    "server CPU µs": server_s / scale.many_sessions * 1e6,
                },
            )

        taken = take_turns(scale.few_rounds, storm=measure)["storm"]
    name = f"{scale.many_sessions:,} connect, subscribe, disconnect"
    yield row("storm", name, "s", taken, aim=value_at_most(10))
    errors = Samples(rounds=[Sample(value=sample.details["errors"]) for sample in taken.rounds])
    yield row("storm", "errors meanwhile", "errors", errors, aim=value_at_most(0))


def churn(scale: Scale) -> Iterator[Row]:
    """Memory after many sessions that came and went, against that after the first of them."""
    with pinned_server() as server, Remote(Load, core=LOAD_CORE) as load:
        warm_up = load.call(Load.churn, server.port, min(WARM_UP, scale.churned))
        before = rss_kb(server.process.pid) / 1024
        took = load.call(Load.churn, server.port, scale.churned)
        after = rss_kb(server.process.pid) / 1024
    errors = sum(warm_up.errors.values()) + sum(took.errors.values())
    details = {"errors": float(errors), "sessions/s": scale.churned / took.wall_s}
    yield row(
        "churn", f"RSS after {scale.churned:,} connects and disconnects", "MB",
        Samples.one(after, took.load_share, details),
        against=Samples.one(before),
        reference_name=f"RSS after the first {min(WARM_UP, scale.churned):,}", aim=ratio_at_most(1.1),
    )  # fmt: skip
