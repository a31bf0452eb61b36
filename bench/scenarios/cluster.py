"""What a push costs through Redis, against the memory of one process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.parties import Service, open_service
from bench.requests import batch, push
from bench.results import Row, Sample, Samples, row, take_turns
from bench.scale import Scale
from tests.valkey import Valkey, running_valkey

UNIT = "acked pushes/s"
CONNECTIONS = 16
BATCH = 100
END = "bench::end"


def cluster(scale: Scale) -> Iterator[Row]:
    """Through Redis and in memory, each in a process of its own on one core. Redis shares the other with the load."""
    with (
        running_valkey() as valkey,
        open_service(scale.users) as memory,
        open_service(scale.users, REDIS_URL=valkey.url) as redis,
    ):
        for name, size in {"single pushes": 1, f"batches of {BATCH}": BATCH}.items():
            taken = take_turns(
                scale.few_rounds,
                memory=lambda size=size: pushes(memory, size, scale.seconds),  # type: ignore[misc]
                redis=lambda size=size: pushes(redis, size, scale.seconds),  # type: ignore[misc]
            )
            yield row(
                "cluster", f"{name} through Redis", UNIT, taken["redis"],
                against=taken["memory"], reference_name="memory",
            )  # fmt: skip
        for name, size in {"single push": 1, f"push in a batch of {BATCH}": BATCH}.items():
            sent = commands_per_push(valkey, redis, size, scale.seconds / 2)
            yield row("cluster", f"commands sent to Redis for a {name}", "commands", Samples.one(sent))


def pushes(service: Service, size: int, seconds: float) -> Sample:
    users = service.users
    if size == 1:
        return service.push_for(seconds, [push(user) for user in users], connections=CONNECTIONS)
    requests = [batch(users[number::CONNECTIONS], size) for number in range(CONNECTIONS)]
    return service.push_for(seconds, requests, connections=CONNECTIONS, batch=size)


# Commands


def commands_per_push(valkey: Valkey, service: Service, size: int, seconds: float) -> float:
    """What Redis was sent for each acknowledged push; what its scripts did on their own is not in it."""
    with counted_commands(valkey) as counts:
        sample = pushes(service, size, seconds)
    return counts[0] / sample.details["count"]


@contextmanager
def counted_commands(valkey: Valkey) -> Iterator[list[int]]:
    """At the end there is their number."""
    counts: list[int] = []
    watching = threading.Event()

    def watch() -> None:
        sent = 0
        with valkey.client() as client, client.monitor() as monitor:
            watching.set()
            for command in monitor.listen():
                if command["command"].startswith(f"GET {END}"):
                    break
                sent += command["client_type"] != "lua"
        counts.append(sent)

    watcher = threading.Thread(target=watch)
    watcher.start()
    watching.wait()
    yield counts
    valkey.command("GET", END)
    watcher.join()
