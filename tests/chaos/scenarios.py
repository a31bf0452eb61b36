"""The scenarios: a topology, a fault, and what the contract leaves open under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos import faults
from tests.chaos.faults import Fault
from tests.chaos.world import Topology

WAIT = {"REDIS_WAIT_REPLICAS": "1"}
ALWAYS = {"appendfsync": "always"}
# A failover to a replica that did not have the last writes: the contract asks for REDIS_WAIT_REPLICAS.
OPEN_WITHOUT_WAIT = frozenset(
    {"missed", "missed_new", "lost", "twice", "unmarked", "wrong_status", "acked_resent", "unheard"}
)
# Redis counts a frozen node, and one behind a half-open link, as a subscriber that can hear.
UNSEEN = frozenset({"unheard"})


@dataclass(frozen=True)
class Scenario:
    """`allowed` names columns that count no broken promise here; the table marks them.

    `drop` is the share of first copies that clients lose. With `only_devices` every client sends its `client-id`,
    and reaches the nodes over the client links.
    """

    name: str
    what: str
    fault: Fault
    topology: Topology = "valkey"
    env: Mapping[str, str] = field(default_factory=dict)
    valkey: Mapping[str, str | int] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    drop: float = 0.0
    only_devices: bool = False


_ALL = [
    Scenario("control", "no fault", faults.nothing),
    Scenario("lossy-clients", "clients lose 5 % of the first copies", faults.nothing, drop=0.05),
    Scenario(
        "network-change",
        "connections of all clients die unseen by the nodes; at most 4 sessions for a user",
        faults.change_network,
        env={"MAX_SESSIONS_PER_USER": "4"},
        only_devices=True,
    ),
    Scenario("node-kill", "one node killed with SIGKILL, back after 8 s", faults.kill_node),
    Scenario("node-freeze-6", "one node stopped for 6 s", faults.freeze_node(6), allowed=UNSEEN),
    Scenario("node-freeze-20", "one node stopped for 20 s", faults.freeze_node(20), allowed=UNSEEN),
    Scenario("rolling-restart", "SIGTERM and restart of every node in turn", faults.rolling_restart),
    Scenario("valkey-restart", "Valkey killed; its AOF is `everysec`; nodes return one by one", faults.restart_valkey),
    Scenario("valkey-restart-always", "the same with `always`", faults.restart_valkey, valkey=ALWAYS),
    Scenario("valkey-freeze-5", "Valkey stopped for 5 s", faults.freeze_valkey(5), allowed=UNSEEN),
    Scenario("valkey-freeze-15", "Valkey stopped for 15 s", faults.freeze_valkey(15), allowed=UNSEEN),
    Scenario("valkey-full", "Valkey out of memory for 8 s", faults.fill_valkey),
    Scenario("links-cut", "all nodes cut from Valkey for 5 to 6 s", faults.cut_all_links),
    Scenario("link-cut", "one node cut from Valkey for 12 s", faults.cut_one_link),
    Scenario("link-half-open", "link of one node half-open for 12 s", faults.stall_one_link, allowed=UNSEEN),
    Scenario("links-slow", "200 ms more for each round trip to Valkey, 12 s", faults.slow_links),
    Scenario(
        "sentinel-failover",
        "Sentinel failover without REDIS_WAIT_REPLICAS",
        faults.sentinel_failover,
        "sentinel",
        allowed=OPEN_WITHOUT_WAIT,
    ),
    Scenario(
        "sentinel-failover-wait", "Sentinel failover, REDIS_WAIT_REPLICAS=1", faults.sentinel_failover, "sentinel", WAIT
    ),
    Scenario("cluster-failover", "Cluster failover, REDIS_WAIT_REPLICAS=1", faults.cluster_failover, "cluster", WAIT),
    Scenario("postgres-restart", "PostgreSQL killed, back after 1 s", faults.restart_postgres),
    Scenario("postgres-stop-20", "PostgreSQL down for 20 s", faults.stop_postgres),
    Scenario("postgres-freeze-10", "PostgreSQL stopped with SIGSTOP for 10 s", faults.freeze_postgres(10)),
    Scenario("sqlite-locked", "one node; SQLite locked from outside for 10 s", faults.lock_sqlite, "sqlite"),
    Scenario("sqlite-full", "one node; every file write fails for 10 s", faults.fill_sqlite, "sqlite"),
]
SCENARIOS = {scenario.name: scenario for scenario in _ALL}


@dataclass(frozen=True)
class Break:
    """A way to break the service or its clients on purpose, which the accounting has to see.

    `sabotage` runs beside the whole scenario until it is cancelled.
    """

    what: str
    env: Mapping[str, str] = field(default_factory=dict)
    drop: float = 0.0
    sabotage: Fault = faults.no_sabotage


BREAKS = {
    "retries": Break(
        "nothing is resent, and clients lose 5 % of the first copies",
        {"ACK_MAX_RETRY_COUNT": "0", "ACK_CHECK_WAIT_MS": "600000"},
        drop=0.05,
    ),
    "marks": Break(
        "what Redis remembers of messages beside those that wait is deleted",
        sabotage=faults.delete_keys(
            "stomp::log::*", "stomp::head::*", "stomp::acknowledged::*", "stomp::known::*", "stomp::messages::*"
        ),
    ),
    "mailbox": Break("what waits in the mailboxes is deleted", sabotage=faults.delete_keys("stomp::inbox::*")),
}
