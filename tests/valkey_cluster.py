"""Several real Valkeys that belong together: a cluster that shares the keys out, or sentinels that watch a primary.

As synchronous as tests/valkey.py, but slower: a cluster starts in two seconds, a failover takes one or two.
Where an event loop has to go on meanwhile: `await asyncio.to_thread(cluster.wait_until_ok)`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.valkey import Setting, Valkey, reserve_port, wait_until

SERVICE = "notify"
QUORUM = 2

NODE_DEFAULTS: dict[str, Setting] = {
    "cluster_enabled": "yes",
    "cluster_node_timeout": 1000,  # ms of silence until a node is thought dead
    "cluster_allow_replica_migration": "no",
}


class ClusterNode(Valkey):
    """The nodes talk on a port of its own each; by default it would be `port` + 10,000, which may be none."""

    def __init__(self, **options: Setting) -> None:
        self._bus_reservation = reserve_port()
        self.bus_port: int = self._bus_reservation.getsockname()[1]
        super().__init__(**NODE_DEFAULTS | {"cluster_port": self.bus_port} | options)

    def knows(self, count: int) -> bool:
        """It has shaken hands with so many nodes, itself among them."""
        nodes = str(self.command("CLUSTER", "NODES")).splitlines()
        return len(nodes) == count and not any("handshake" in node for node in nodes)

    def is_ok(self) -> bool:
        return "cluster_state:ok" in str(self.command("CLUSTER", "INFO"))

    def is_primary(self) -> bool:
        return bool(self.client().info("replication")["role"] == "master")

    def owners(self) -> dict[range, int]:
        """The port of the primary for each range of slots, as this node sees it."""
        return {range(first, last + 1): node[1] for first, last, node, *_ in self.command("CLUSTER", "SLOTS")}

    def close(self) -> None:
        super().close()
        self._bus_reservation.close()


class ValkeyCluster:
    """`nodes` are the primaries in the order of their slots, then the replicas of the first one, of the second, ...

    `options` are settings of every node. `start` begins its life, `close` ends it.
    """

    def __init__(self, primaries: int = 3, replicas: int = 0, **options: Setting) -> None:
        self.nodes = [ClusterNode(**options) for _ in range(primaries * (1 + replicas))]
        self._primaries, self._replicas = self.nodes[:primaries], self.nodes[primaries:]

    @property
    def url(self) -> str:
        return f"redis+cluster://{_addresses(self._primaries)}"

    def owner_of(self, key: str) -> ClusterNode:
        """The primary of the slot, also of a sharded channel, as the first node that runs sees it now."""
        slot = key_slot(key.encode())
        port = next(port for slots, port in self._running()[0].owners().items() if slot in slots)
        return next(node for node in self.nodes if node.port == port)

    def wait_until_ok(self) -> None:
        """Until all nodes that run see the same living primaries: also after one has been killed and replaced."""
        wait_until(self._is_ok, "the cluster to be whole")

    # Life

    def start(self) -> None:
        """Returns once every node is ready to serve and every replica has the data of its primary."""
        for epoch, node in enumerate(self.nodes, start=1):
            node.start()
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)  # not equal ones, which they would have to sort out
        self._share_slots()
        for node in self.nodes[1:]:
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        wait_until(lambda: all(node.knows(len(self.nodes)) for node in self.nodes), "the nodes to meet")
        for index, node in enumerate(self._replicas):
            primary = self._primaries[index * len(self._primaries) // len(self._replicas)]
            node.command("CLUSTER", "REPLICATE", str(primary.command("CLUSTER", "MYID")))
        self.wait_until_ok()

    def close(self) -> None:
        _close(self.nodes)

    def _share_slots(self) -> None:
        count = len(self._primaries)
        bounds = [REDIS_CLUSTER_HASH_SLOTS * index // count for index in range(count + 1)]
        for node, first, end in zip(self._primaries, bounds[:-1], bounds[1:], strict=True):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)

    def _running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running]

    def _is_ok(self) -> bool:
        running = self._running()
        views = [node.owners() for node in running]
        return (
            all(view == views[0] for view in views)
            and set(views[0].values()) <= {node.port for node in running}
            and all(node.is_ok() and (node.is_primary() or node.is_linked()) for node in running)
        )


@contextmanager
def running_cluster(primaries: int = 3, replicas: int = 0, **options: Setting) -> Iterator[ValkeyCluster]:
    cluster = ValkeyCluster(primaries, replicas, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


class Sentinel(Valkey):
    """It keeps what it has learnt in its settings, so that it knows it after `stop` and `start`."""

    mode = ("--sentinel",)

    def watch(self, primary: Valkey) -> None:
        # How often it looks is no setting, and made for networks: every two seconds for sentinels, every ten for
        # replicas. Forgotten when it restarts.
        self.command(
            "SENTINEL", "DEBUG", "PING-PERIOD", 200, "PUBLISH-PERIOD", 200, "INFO-PERIOD", 500, "ASK-PERIOD", 200
        )
        self.command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", primary.port, QUORUM)
        self.command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 500, "failover-timeout", 3000)

    def primary_port(self) -> int:
        return int(self.command("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", SERVICE)[1])

    def is_ready(self, sentinels: int) -> bool:
        """It has found so many sentinels, itself among them, and a replica that has the data."""
        primary = self.command("SENTINEL", "PRIMARY", SERVICE)
        replicas = self.command("SENTINEL", "REPLICAS", SERVICE)
        return (
            int(primary["num-other-sentinels"]) == sentinels - 1
            and [replica["flags"] for replica in replicas] == ["slave"]
            and replicas[0]["master-link-status"] == "ok"
        )


class SentinelSetup:
    """One primary, one replica, and sentinels that make the replica the primary when two of them miss the primary.

    `primary` and `replica` keep these names whatever they become. `start` begins its life, `close` ends it.
    """

    def __init__(self, sentinels: int = 3) -> None:
        self.primary = Valkey()
        self.replica = Valkey()
        self.sentinels = [Sentinel() for _ in range(sentinels)]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{_addresses(self.sentinels)}/{SERVICE}"

    def current_primary_port(self) -> int:
        """As most of the sentinels that run see it now."""
        votes = Counter(sentinel.primary_port() for sentinel in self.sentinels if sentinel.is_running)
        return votes.most_common(1)[0][0]

    def wait_until_primary(self, server: Valkey) -> None:
        """Until all sentinels that run name it, and it takes writes."""
        running = [sentinel for sentinel in self.sentinels if sentinel.is_running]
        wait_until(lambda: {sentinel.primary_port() for sentinel in running} == {server.port}, "a failover")
        wait_until(lambda: server.client().info("replication")["role"] == "master", "its promotion")

    def wait_until_whole(self) -> None:
        """Until a failover could work: all sentinels know each other, and the one replica has the data."""
        count = len(self.sentinels)
        wait_until(lambda: all(sentinel.is_ready(count) for sentinel in self.sentinels), "the sentinels to meet")

    # Life

    def start(self) -> None:
        """Returns once it is whole."""
        self.primary.start()
        self.replica.start()
        self.replica.replicate(self.primary)
        for sentinel in self.sentinels:
            sentinel.start()
            sentinel.watch(self.primary)
        self.wait_until_whole()

    def close(self) -> None:
        _close([*self.sentinels, self.replica, self.primary])


@contextmanager
def running_sentinels(sentinels: int = 3) -> Iterator[SentinelSetup]:
    setup = SentinelSetup(sentinels)
    try:
        setup.start()
        yield setup
    finally:
        setup.close()


def _addresses(servers: Sequence[Valkey]) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def _close(servers: Sequence[Valkey]) -> None:
    """All of them, also when one cannot."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
