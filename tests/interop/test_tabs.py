"""Six tabs of our browser client, and six of another, when their network changes."""

from tests.e2e.trio import running_nodes
from tests.interop.tools import find_program, install_node_modules, run_node_tests
from tests.service import Server, running_server
from tests.valkey import running_valkey

HEARTBEAT_MS = 2000  # overdue after 3 s, lost after 6 s: who waits for the loss is late
SETTINGS = {"MAX_SESSIONS_PER_USER": "6", "HEARTBEAT_RECEIVE_MS": str(HEARTBEAT_MS)}


def run_tabs(*servers: Server) -> None:
    nodes = ",".join(str(server.port) for server in servers)
    run_node_tests("tabs.test.mjs", NODES=nodes, HEARTBEAT_MS=str(HEARTBEAT_MS))


def test_six_of_six_tabs_receive_on_one_node_after_a_change_of_network() -> None:
    find_program("node")
    install_node_modules()
    with running_server(**SETTINGS) as server:
        run_tabs(server)


def test_six_of_six_tabs_receive_on_two_nodes_after_a_change_of_network() -> None:
    find_program("node")
    install_node_modules()
    with running_valkey() as redis, running_nodes(redis.url, 2, **SETTINGS) as servers:
        run_tabs(*servers)
