"""JavaScript clients on Node: @stomp/stompjs against the service, and our own client against its fakes."""

from tests.interop.tools import find_program, install_node_modules, run_node_tests
from tests.service import running_server

HEARTBEAT_MS = 2000
SETTINGS = {
    "ACK_CHECK_WAIT_MS": "500",
    "ACK_RETRY_INTERVAL_MS": "500",
    "ACK_MESSAGE_TTL_MS": "30000",
    "HEARTBEAT_SEND_MS": str(HEARTBEAT_MS),
    "HEARTBEAT_RECEIVE_MS": str(HEARTBEAT_MS),
}


def test_stompjs_works_with_the_service() -> None:
    find_program("node")
    install_node_modules()
    with running_server(**SETTINGS) as server:
        run_node_tests(
            "stompjs.test.mjs", STOMP_URL=server.websocket_url, HTTP_URL=server.url, HEARTBEAT_MS=str(HEARTBEAT_MS)
        )


def test_our_browser_client_passes_its_own_tests() -> None:
    run_node_tests("notify_client.test.mjs")
    run_node_tests("notify_transports.test.mjs")
