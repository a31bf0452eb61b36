"""Broadcasts, as fast as they go, against the least that any server has to do."""

from collections.abc import Callable, Iterator

import httpx

from bench.parties import Bare, Service, open_bare, open_service
from bench.results import Row, Sample, Samples, ratio_at_least, row, take_turns, value_at_most
from bench.scale import Scale
from bench.servers import WATCHED

UNIT = "deliveries/s"
PUBLISHERS = 8
BARE_LOOP = "bare loop of send()"


def beside_bare(service: Service, bare: Bare, count: int) -> Callable[[], Sample]:
    """The bare loop sends frames of the size of the service's."""
    return lambda: bare.broadcast(count, service.frame_bytes())


def broadcast(scale: Scale) -> Iterator[Row]:
    """A thousand sessions, on both transports, against the bare loop of send()."""
    sessions, count = scale.sessions, scale.broadcasts
    with (
        open_service(sessions) as picows,
        open_service(sessions, WS_TRANSPORT="asgi") as asgi,
        open_bare(sessions) as bare,
    ):
        taken = take_turns(
            scale.rounds,
            bare=beside_bare(picows, bare, count),
            picows=lambda: picows.broadcast(count),
            asgi=lambda: asgi.broadcast(count),
            several=lambda: picows.broadcast(count, publishers=PUBLISHERS),
        )
    name = f"broadcast, {sessions:,} sessions, 256 B"
    yield row(
        "broadcast", name, UNIT, taken["picows"], against=taken["bare"], reference_name=BARE_LOOP,
        aim=ratio_at_least(0.75),
    )  # fmt: skip
    yield row(
        "broadcast", name, UNIT, taken["picows"], against=taken["asgi"], reference_name="plain ASGI path",
        aim=ratio_at_least(1.8),
    )  # fmt: skip
    yield row(
        "broadcast", f"the same from {PUBLISHERS} publishers at once", UNIT, taken["several"], against=taken["bare"],
        reference_name=BARE_LOOP,
    )  # fmt: skip


def broadcast_many(scale: Scale) -> Iterator[Row]:
    """Ten thousand sessions, and for how long the event loop was held meanwhile."""
    sessions, count = scale.many_sessions, scale.many_broadcasts
    holds = []
    with open_service(sessions, program=WATCHED) as service, open_bare(sessions) as bare:

        def watched() -> Sample:
            longest_hold_ms(service)
            sample = service.broadcast(count)
            holds.append(Sample(value=longest_hold_ms(service), load_share=sample.load_share))
            return sample

        taken = take_turns(scale.few_rounds, bare=beside_bare(service, bare, count), service=watched)
    name = f"broadcast, {sessions:,} sessions, 256 B"
    yield row(
        "broadcast-many", name, UNIT, taken["service"], against=taken["bare"], reference_name=BARE_LOOP,
        aim=ratio_at_least(0.5),
    )  # fmt: skip
    yield row(
        "broadcast-many", "longest hold of the event loop meanwhile", "ms", Samples(rounds=holds),
        aim=value_at_most(10),
    )  # fmt: skip


def longest_hold_ms(service: Service) -> float:
    """Since it was asked last."""
    answer = httpx.get(f"{service.server.url}/bench/loop", timeout=30)
    return float(answer.raise_for_status().json()["longest_hold_ms"])
