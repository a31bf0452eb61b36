"""Pushes to single users, acknowledged, against what the same server needs for a request that does nothing."""

from collections.abc import Iterator

from bench.load.load import Load
from bench.parties import Service, open_service
from bench.requests import batch, empty, push
from bench.results import Row, Sample, rate, ratio_at_least, row, take_turns
from bench.scale import Scale
from bench.servers import EMPTY, pinned_server
from tests.service import Server

UNIT = "pushes/s"
CONNECTIONS = 16
BATCH = 500
BATCH_CONNECTIONS = 2


def pushes(scale: Scale) -> Iterator[Row]:
    """Single pushes against requests that do nothing, and batches against single pushes."""
    with open_service(scale.users) as service, pinned_server(EMPTY) as nothing:
        taken = take_turns(
            scale.rounds,
            empty=lambda: empty_requests(service, nothing, scale.seconds),
            single=lambda: single_pushes(service, scale.seconds),
            batches=lambda: batched_pushes(service, scale.seconds),
        )
    yield row(
        "pushes", f"single pushes, {CONNECTIONS} HTTP connections, acked", UNIT, taken["single"],
        against=taken["empty"], reference_name="empty FastAPI route, same uvicorn", aim=ratio_at_least(0.55),
    )  # fmt: skip
    yield row(
        "pushes", f"batches of {BATCH}, {BATCH_CONNECTIONS} HTTP connections, acked", UNIT, taken["batches"],
        against=taken["single"], reference_name="single pushes", aim=ratio_at_least(5),
    )  # fmt: skip


def single_pushes(service: Service, seconds: float) -> Sample:
    requests = [push(user) for user in service.users]
    return service.push_for(seconds, requests, connections=CONNECTIONS)


def batched_pushes(service: Service, seconds: float) -> Sample:
    requests = [batch(service.users, BATCH)]
    return service.push_for(seconds, requests, connections=BATCH_CONNECTIONS, batch=BATCH)


def empty_requests(service: Service, nothing: Server, seconds: float) -> Sample:
    """The same load generator; its sessions have nothing to do."""
    took = service.load.call(Load.pump, nothing.port, [empty()], connections=CONNECTIONS, window=1, seconds=seconds)
    return rate(took, took.requests)
