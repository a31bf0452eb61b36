"""The list of live nodes, a lease for each, and the removal of ledger records of dead nodes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from app.cluster.keys import CLEANER, EVERYBODY, NODES, node_channel
from app.cluster.scripts import BEAT, BURY, CLEAN_LEDGER
from app.cluster.wire import Kind, label
from app.errors import Unavailable
from app.redis.client import RedisClient

BEATS_PER_TTL = 3
CLEANING_STEP = 200  # records per step, which take Redis some ten microseconds
CLEANING_PAUSE_S = 0.01
CLEANER_TTL_MS = 10_000

logger = logging.getLogger(__name__)


class Members:
    """The nodes of the cluster. `run` must be running: it renews the lease of this node and cleans the `ledgers`."""

    def __init__(self, client: RedisClient, *, node: str, ttl_ms: int, ledgers: Sequence[str]) -> None:
        self._client = client
        self._node = node
        self._ttl_ms = ttl_ms
        self._ledgers = ledgers
        self._living: Sequence[str] = (node,)
        self._dead: Sequence[bytes] = ()
        self._silent: Sequence[str] = ()
        self._beat_now = asyncio.Event()
        self._some_died = asyncio.Event()
        self._on_lease_lost: list[Callable[[], None]] = []
        self._on_departed: list[Callable[[], None]] = []
        self._absent: set[str] = set()
        self._absent_until_s = 0.0
        client.on_up(lambda channels: self._resume())

    def on_lease_lost(self, call: Callable[[], None]) -> None:
        """Add a callback for an expired lease: other nodes may have removed the entries of this one."""
        self._on_lease_lost.append(call)

    def on_departed(self, call: Callable[[], None]) -> None:
        """Add a callback for a node that has left or died."""
        self._on_departed.append(call)

    @property
    def others(self) -> Sequence[str]:
        """The nodes with a valid lease at the last beat, without this one."""
        return [node for node in self._living if node != self._node]

    @property
    def expected(self) -> Sequence[str]:
        """`others`, and for `ttl_ms` the nodes that may be reconnecting.

        These are members known before Redis was lost, and members whose lease has expired.
        """
        silent = set(self._silent)
        if self._absent and asyncio.get_running_loop().time() < self._absent_until_s:
            silent |= self._absent
        return [*self.others, *sorted(silent.difference(self._living))] if silent else self.others

    def _resume(self) -> None:
        """Keep expecting the members known before Redis was lost: their leases may have expired meanwhile."""
        self._absent = set(self.expected)
        self._absent_until_s = asyncio.get_running_loop().time() + self._ttl_ms / 1000
        self.beat_soon()

    def beat_soon(self) -> None:
        """Have `run` renew the lease and read the list of members now."""
        self._beat_now.set()

    async def poll(self) -> Sequence[str]:
        """Renew the lease and return `others` as they are now. Raises Unavailable."""
        await self._beat()
        return self.others

    async def living(self, nodes: Sequence[str]) -> Sequence[str]:
        """Return the nodes that have a valid lease and a connection to Redis. Raises Unavailable.

        The connection tells a process that has just died from one that lives.
        """
        if not nodes:
            return ()
        others, answering = await asyncio.gather(self.poll(), self.answering(nodes))
        return [node for node in answering if node in others]

    async def answering(self, nodes: Sequence[str]) -> Sequence[str]:
        """Return the nodes that have a connection to Redis. Raises Unavailable."""
        verbs = self._client.count_verbs
        replies = await asyncio.gather(
            *(self._client.call(channel, *verbs, channel) for channel in map(node_channel, nodes))
        )
        return [node for node, reply in zip(nodes, replies, strict=True) if count_of(reply)]

    async def run(self) -> None:
        """Renew the lease and clean up after dead nodes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_beating())
            group.create_task(self._keep_clean())

    async def _keep_beating(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_ms / 1000 / BEATS_PER_TTL):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                await self._beat()
            except Unavailable as error:
                logger.info("the list of nodes was not read: %s", error)

    async def leave(self) -> None:
        """Remove this node from the list and tell the others. Raises Unavailable."""
        await self._client.call(NODES, "ZREM", NODES, self._node)
        await self._announce()

    async def _beat(self) -> None:
        lease_lost, living, self._dead, buried = await self._client.run_script(BEAT, (NODES,), self._node, self._ttl_ms)
        before, self._living = self._living, _names(living)
        self._silent = _names([*self._dead, *buried])
        self._absent.difference_update(self._living)
        if not set(before) <= {*self._living, self._node}:
            for departed in self._on_departed:
                departed()
        if self._dead:
            self._some_died.set()
        if lease_lost:
            for call in self._on_lease_lost:
                call()
            await self._announce()

    async def _announce(self) -> None:
        """Have the other nodes read the list now, so that broadcasts expect the right ones."""
        with contextlib.suppress(Unavailable):
            await self._client.publish(EVERYBODY, label(Kind.MEMBERS, self._node))

    # Cleaning

    async def _keep_clean(self) -> None:
        """Clean up in a task of its own: a large ledger takes longer than a lease lasts."""
        while True:
            await self._some_died.wait()
            try:
                if await self._may_clean():
                    await self._clean(self._dead)
            except Unavailable as error:
                logger.info("records of dead nodes were not removed: %s", error)
            self._some_died.clear()  # nodes that died meanwhile are in the next beat

    async def _may_clean(self) -> bool:
        """Return whether this node got the lease for cleaning, which one node has at a time."""
        taken = await self._client.call(CLEANER, "SET", CLEANER, self._node, "NX", "PX", CLEANER_TTL_MS)
        return taken is not None

    async def _clean(self, dead: Sequence[bytes]) -> None:
        removed = 0
        for ledger in self._ledgers:
            removed += await self._clean_ledger(ledger, dead)
        await self._client.run_script(BURY, (NODES,), *dead)
        await self._client.call(CLEANER, "DEL", CLEANER)
        logger.info("%d records of the dead nodes %s were removed", removed, dead)

    async def _clean_ledger(self, ledger: str, dead: Sequence[bytes]) -> int:
        removed, cursor = 0, "0"
        while True:
            reply = await self._client.run_script(CLEAN_LEDGER, (ledger,), cursor, CLEANING_STEP, *dead)
            cursor = reply[0].decode()
            removed += int(reply[1])
            if cursor == "0":
                return removed
            await self._client.call(CLEANER, "PEXPIRE", CLEANER, CLEANER_TTL_MS)
            await asyncio.sleep(CLEANING_PAUSE_S)


def _names(nodes: Sequence[bytes]) -> list[str]:
    return [node.decode(errors="replace") for node in nodes]


def count_of(reply: object) -> int:
    """Return the number of a PUBSUB NUMSUB reply for one channel: a map in RESP3, a list in RESP2."""
    if isinstance(reply, dict):
        return int(next(iter(reply.values()), 0))
    return int(reply[1]) if isinstance(reply, list) and len(reply) > 1 else 0
