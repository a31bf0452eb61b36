"""The scenarios by their names, in the order in which they run."""

from collections.abc import Callable, Iterator

from bench.peers.peers import rabbitmq, socketio
from bench.results import Row
from bench.scale import Scale
from bench.scenarios.abuse import abuse
from bench.scenarios.abuse_connections import abuse_connections
from bench.scenarios.acknowledged import acknowledged, acknowledged_push
from bench.scenarios.broadcast import broadcast, broadcast_many
from bench.scenarios.cluster import cluster
from bench.scenarios.coming_and_going import churn, storm
from bench.scenarios.idle import idle
from bench.scenarios.latency import latency
from bench.scenarios.ledger import ledger
from bench.scenarios.persistence import persistence
from bench.scenarios.pushes import pushes
from bench.scenarios.stalled import stalled

Scenario = Callable[[Scale], Iterator[Row]]

SCENARIOS: dict[str, Scenario] = {
    "broadcast": broadcast,
    "broadcast-many": broadcast_many,
    "acknowledged": acknowledged,
    "acknowledged-push": acknowledged_push,
    "pushes": pushes,
    "latency": latency,
    "storm": storm,
    "idle": idle,
    "churn": churn,
    "stalled": stalled,
    "abuse": abuse,
    "abuse-connections": abuse_connections,
    "cluster": cluster,
    "ledger": ledger,
    "persistence": persistence,
}

# Against other servers, as far as they are installed.
PEERS: dict[str, Scenario] = {"socketio": socketio, "rabbitmq": rabbitmq}
