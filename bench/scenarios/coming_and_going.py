"""Many that come and go."""

from collections.abc import Iterator

from bench.load.dialects import connected, stomp
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
    """Memory after many sessions that came and went, every tenth of them subscribed, against after the first."""
    subscribed, first = scale.churned // 10, min(WARM_UP, scale.churned)
    with pinned_server() as server, Remote(Load, core=LOAD_CORE) as load:
        took = [load.call(Load.churn, server.port, first)]
        before = rss_kb(server.process.pid) / 1024
        took.append(load.call(Load.churn, server.port, scale.churned - subscribed, connected(stomp())))
        took.append(load.call(Load.churn, server.port, subscribed))
        after = rss_kb(server.process.pid) / 1024
    details = {
        "errors": float(sum(sum(one.errors.values()) for one in took)),
        "connects/s": (scale.churned - subscribed) / took[1].wall_s,
        "with SUBSCRIBE/s": subscribed / took[2].wall_s,
    }
    yield row(
        "churn", f"RSS after {scale.churned:,} connects and disconnects", "MB",
        Samples.one(after, max(one.load_share for one in took), details), against=Samples.one(before),
        reference_name=f"RSS after the first {first:,}", aim=ratio_at_most(1.1),
    )  # fmt: skip
