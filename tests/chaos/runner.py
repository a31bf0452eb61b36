"""One scenario from start to account."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.chaos.accounting import Account, Accountant
from tests.chaos.checks import check_history, check_statuses
from tests.chaos.client import Client, Manner
from tests.chaos.journal import Journal
from tests.chaos.publisher import Publisher
from tests.chaos.scenarios import Break, Scenario
from tests.chaos.world import World

USERS = 24
PUBLISHERS = 12
CONNECT_TIMEOUT_S = 60.0
UNBROKEN = Break("nothing")
NORMAL, SLOW, SILENT, WANDERING = Manner(), Manner(ack_after_s=2.5), Manner(ack_after_s=None), Manner(wanders=True)
# By number of further sessions of the user and index of the session, for every fourth user of the kind.
MANNERS = {
    (0, 0): (NORMAL, SLOW, WANDERING, replace(SLOW, wanders=True)),
    (1, 0): (NORMAL, NORMAL, NORMAL, NORMAL),
    (1, 1): (NORMAL, WANDERING, SLOW, WANDERING),
    (2, 0): (NORMAL, NORMAL, NORMAL, NORMAL),
    (2, 1): (NORMAL, NORMAL, NORMAL, WANDERING),
    (2, 2): (NORMAL, SLOW, SLOW, SILENT),
}


@dataclass(frozen=True)
class Pace:
    """Seconds of publishing before and after the fault, and when a run has settled.

    It has settled when nothing is missing and nothing new came for `calm_s`; when something is missing, after
    `quiet_s` without anything new, or `settle_s` in all.
    """

    before_s: float = 5.0
    after_s: float = 8.0
    calm_s: float = 3.0
    quiet_s: float = 20.0
    settle_s: float = 60.0
    pause_s: float = 0.15
    connected_s: float = CONNECT_TIMEOUT_S


FULL = Pace()
SHORT = Pace(before_s=3, after_s=5, calm_s=2, pause_s=0.25)


@dataclass(frozen=True)
class Run:
    """What is known of a scenario. `directory` had the logs of its processes."""

    scenario: Scenario
    account: Account
    journal: Journal
    seconds: float
    sessions: int
    tracebacks: int
    directory: Path


async def run(scenario: Scenario, seed: int, pace: Pace = FULL, broken: Break = UNBROKEN, keep: bool = False) -> Run:
    """Run a scenario. The journal and the account are complete when it returns, and every process has ended."""
    started_s = time.monotonic()
    journal = Journal()
    env = {**scenario.env, **broken.env}
    source = random.Random(f"{scenario.name}/{seed}")
    async with World(scenario.topology, env, scenario.valkey, keep) as world:
        urls = [node.url for node in world.nodes]
        users = [f"test-{number}" for number in range(USERS)]
        clients = _clients(users, world, scenario, journal, broken, source)
        async with _beside(broken.sabotage(world)), _connected(clients, pace):
            publishers = [
                Publisher(number, users, urls, journal, random.Random(source.random())) for number in range(PUBLISHERS)
            ]
            async with _publishing(publishers, pace):
                await asyncio.sleep(pace.before_s)
                await _strike(scenario, world, journal)
                await asyncio.sleep(pace.after_s)
            await _settle(journal, pace)
            await check_statuses(journal, urls, source)
            await check_history(journal, users, urls)
            account = Accountant(journal).account()  # before the clients end the sessions that are still open
        tracebacks = world.tracebacks()
    return Run(scenario, account, journal, time.monotonic() - started_s, len(clients), tracebacks, world.directory)


async def _strike(scenario: Scenario, world: World, journal: Journal) -> None:
    journal.fault_began_s = time.monotonic()
    await scenario.fault(world)
    journal.fault_ended_s = time.monotonic()


def _clients(
    users: Sequence[str],
    world: World,
    scenario: Scenario,
    journal: Journal,
    broken: Break,
    source: random.Random,
) -> list[Client]:
    """Make one to three clients for each user."""
    ports = [item.port for item in (world.client_links if scenario.only_devices else world.nodes)]
    clients: list[Client] = []
    for number, user in enumerate(users):
        for index in range(1 + number % 3):
            manner = replace(
                MANNERS[number % 3, index][number // 3 % 4],
                has_device=scenario.only_devices or len(clients) % 2 == 0,
                drop=broken.drop or scenario.drop,
            )
            clients.append(Client(f"{user}-{index}", user, ports, journal, manner, random.Random(source.random())))
    return clients


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


@asynccontextmanager
async def _connected(clients: Sequence[Client], pace: Pace) -> AsyncIterator[None]:
    """Hold the clients' sessions until the end of the block. A defect in a client ends the run."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.run(), name=client.name) for client in clients]
        async with asyncio.timeout(pace.connected_s):
            for client in clients:
                await client.subscribed.wait()
        yield
        for task in running:
            task.cancel()


@asynccontextmanager
async def _publishing(publishers: Sequence[Publisher], pace: Pace) -> AsyncIterator[None]:
    """Publish during the block, and then until every request that is under way has an outcome."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for publisher in publishers:
            tasks.create_task(publisher.publish(stop, pace.pause_s))
        try:
            yield
        finally:
            stop.set()


async def _settle(journal: Journal, pace: Pace) -> None:
    """Wait until nothing is missing or nothing comes any more. Clients that wander stay from now on."""
    journal.is_settling = True
    begin_s = time.monotonic()
    while (now_s := time.monotonic()) < begin_s + pace.settle_s:
        quiet_s = now_s - max(begin_s, journal.last_reception_s)
        is_complete = quiet_s >= pace.calm_s and not Accountant(journal).account().outstanding
        if is_complete or quiet_s >= pace.quiet_s:
            return
        await asyncio.sleep(1)
