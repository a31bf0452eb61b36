"""Sessions that only say now and then that they are there."""

from collections.abc import Iterator

from bench.load.dialects import stomp
from bench.load.load import Load
from bench.machine import LOAD_CORE, cpu_s, rss_kb
from bench.remote import Remote
from bench.results import Row, Sample, Samples, row, value_at_most
from bench.scale import Scale
from bench.servers import pinned_server

INTERVAL_S = 10.0


def idle(scale: Scale) -> Iterator[Row]:
    """CPU and memory of ten thousand sessions with heart-beats of both sides every 10 s."""
    sessions = scale.many_sessions
    with pinned_server() as server, Remote(Load, core=LOAD_CORE) as load:
        pid = server.process.pid
        load.call(Load.churn, server.port, 100)
        before_kb = rss_kb(pid)
        load.call(Load.open, server.port, sessions, stomp(beat_s=INTERVAL_S))
        load.call(Load.beat, INTERVAL_S / 5)
        beats = Samples(rounds=[_beat(load, pid, sessions, scale.idle_s) for _ in range(scale.few_rounds)])
        session_kb = (rss_kb(pid) - before_kb) / sessions
    yield row("idle", f"{sessions:,} idle sessions with heart-beats", "% of a core", beats, aim=value_at_most(5))
    yield row(
        "idle", "memory of each of them", "KB of RSS", Samples.one(session_kb),
        aim=value_at_most(35),
    )  # fmt: skip


def _beat(load: Remote[Load], pid: int, sessions: int, seconds: float) -> Sample:
    before_s = cpu_s(pid)
    took = load.call(Load.beat, seconds)
    share = (cpu_s(pid) - before_s) / took.wall_s
    details = {"beats per session and interval": took.messages / sessions / (took.wall_s / INTERVAL_S)}
    return Sample(value=share * 100, load_share=took.load_share, details=details)
