"""The faults: each is a coroutine that begins a fault and returns when its cause is gone."""

import asyncio
import resource
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from typing import Any

from tests.chaos.processes import Process
from tests.chaos.valkey import CommandError
from tests.chaos.world import World

Fault = Callable[[World], Coroutine[Any, Any, None]]
_DELETE = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
DOWN_S = 3.0
APART_S = 1.0  # between the reconnections of nodes, as their growing pauses may have it


async def nothing(world: World) -> None:
    """No fault, for as long as a short one."""
    await asyncio.sleep(DOWN_S)


async def no_sabotage(_: World) -> None:
    """Leave the service as it is."""


def delete_keys(*patterns: str) -> Fault:
    """Delete what matches from Valkey, twenty times a second, until cancelled."""

    async def sabotage(world: World) -> None:
        while True:
            with suppress(OSError, EOFError, TimeoutError, CommandError):  # Valkey may be away
                for pattern in patterns:
                    await world.valkey.command("EVAL", _DELETE, 0, pattern)
            await asyncio.sleep(0.05)

    return sabotage


# Clients


async def change_network(world: World) -> None:
    """Let the connections of all clients die without an end that their nodes can see."""
    for link in world.client_links:
        link.orphan()


# Nodes


async def kill_node(world: World) -> None:
    """Kill a node with SIGKILL and start it again after eight seconds."""
    node = world.nodes[1]
    await node.process.kill()
    await asyncio.sleep(8)
    await node.start()


def freeze_node(seconds: float) -> Fault:
    async def fault(world: World) -> None:
        await _frozen(world.nodes[1].process, seconds)

    return fault


async def rolling_restart(world: World) -> None:
    """Restart every node with SIGTERM, one after the other."""
    for node in world.nodes:
        await node.process.terminate()
        await node.start()
        await asyncio.sleep(2)


# Valkey


async def restart_valkey(world: World) -> None:
    """Kill Valkey with SIGKILL and start it again with its AOF; the nodes reconnect one after the other."""
    await world.valkey.process.kill()
    for link in world.valkey_links:
        link.cut()
    await asyncio.sleep(DOWN_S)
    await world.valkey.start()
    await _reopen(world)


def freeze_valkey(seconds: float) -> Fault:
    async def fault(world: World) -> None:
        await _frozen(world.valkey.process, seconds)

    return fault


async def fill_valkey(world: World) -> None:
    """Give Valkey less memory than it uses for eight seconds; it evicts nothing and refuses writes."""
    await world.valkey.command("CONFIG", "SET", "maxmemory", 1_000_000)
    await asyncio.sleep(8)
    await world.valkey.command("CONFIG", "SET", "maxmemory", 0)


async def cut_all_links(world: World) -> None:
    """Cut every node from Valkey; the links return one after the other."""
    for link in world.valkey_links:
        link.cut()
    await asyncio.sleep(5)
    await _reopen(world)


async def cut_one_link(world: World) -> None:
    """Cut one node from Valkey for twelve seconds."""
    world.valkey_links[1].cut()
    await asyncio.sleep(12)
    await world.valkey_links[1].open()


async def stall_one_link(world: World) -> None:
    """Leave the link of one node to Valkey half-open for twelve seconds."""
    world.valkey_links[1].stall()
    await asyncio.sleep(12)
    world.valkey_links[1].flow()


async def slow_links(world: World) -> None:
    """Add 200 ms to every round trip between nodes and Valkey for twelve seconds."""
    for link in world.valkey_links:
        link.delay(0.1)
    await asyncio.sleep(12)
    for link in world.valkey_links:
        link.delay(0)


async def sentinel_failover(world: World) -> None:
    """Kill the primary; sentinels promote the replica; the dead one returns as replica."""
    await world.sentinels.primary.process.kill()
    await world.sentinels.failover()
    await asyncio.sleep(DOWN_S)
    await world.sentinels.primary.start()
    await asyncio.sleep(DOWN_S)


async def cluster_failover(world: World) -> None:
    """Kill one primary of the cluster; its replica takes its place; the dead one returns as replica."""
    await world.cluster.nodes[0].process.kill()
    await world.cluster.failover(0)
    await asyncio.sleep(DOWN_S)
    await world.cluster.nodes[0].start()
    await asyncio.sleep(DOWN_S)


# Databases


async def restart_postgres(world: World) -> None:
    """Kill PostgreSQL with SIGKILL and start it again."""
    await _postgres_down(world, 1)


async def stop_postgres(world: World) -> None:
    """Kill PostgreSQL and leave it down for twenty seconds."""
    await _postgres_down(world, 20)


def freeze_postgres(seconds: float) -> Fault:
    async def fault(world: World) -> None:
        await _frozen(world.postgres.process, seconds)

    return fault


async def lock_sqlite(world: World) -> None:
    """Hold a write transaction on the SQLite file for ten seconds from outside."""
    with closing(sqlite3.connect(world.database, timeout=0, isolation_level=None)) as connection:
        while not connection.in_transaction:
            with suppress(sqlite3.OperationalError):  # the service is writing
                connection.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(0.001)
        await asyncio.sleep(10)
        connection.execute("ROLLBACK")


async def fill_sqlite(world: World) -> None:
    """Let every file write of the node fail for ten seconds, as on a full disk."""
    assert sys.platform == "linux"
    pid = world.nodes[0].process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    await asyncio.sleep(10)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def _reopen(world: World) -> None:
    for link in world.valkey_links:
        await link.open()
        await asyncio.sleep(APART_S)


async def _postgres_down(world: World, seconds: float) -> None:
    await world.postgres.process.kill()
    await asyncio.sleep(seconds)
    await world.postgres.start()


async def _frozen(process: Process, seconds: float) -> None:
    process.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        process.thaw()
