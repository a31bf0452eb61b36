"""sockjs-client 1.6 with stompjs 2.3.3 and @stomp/stompjs 7, on Node and in Chromium, over each of its transports."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.interop.blocker import blocking_websockets
from tests.interop.tools import HERE, find_program, install_node_modules, run_node_tests
from tests.service import Server, running_server

SETTINGS = {"ACK_CHECK_WAIT_MS": "500", "ACK_RETRY_INTERVAL_MS": "500", "ACK_MESSAGE_TTL_MS": "30000"}
LIBRARIES = {
    "stompjs 2.3.3": ("stompjs/lib/stomp.js", "Stomp"),
    "@stomp/stompjs 7": ("@stomp/stompjs/bundles/stomp.umd.js", "StompJs"),
}
TRANSPORTS = ("websocket", "xhr-streaming", "eventsource", "htmlfile", "xhr-polling", "jsonp-polling")


def test_on_node_over_each_transport() -> None:
    find_program("node")
    install_node_modules()
    with running_server(**SETTINGS) as server, blocking_websockets(server.port) as blocker:
        run_node_tests("sockjs.test.mjs", HTTP_URL=server.url, BLOCKED_URL=f"http://127.0.0.1:{blocker.port}")
        assert blocker.blocked == len(LIBRARIES) + 1  # and our own


@contextmanager
def open_page(browser: Browser, url: str, library: str) -> Iterator[Page]:
    """A page of the service with the libraries."""
    install_node_modules()
    modules = HERE / "node_modules"
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{url}/stomp-ws")
        page.add_script_tag(path=modules / "sockjs-client" / "dist" / "sockjs.min.js")
        page.add_script_tag(path=modules / LIBRARIES[library][0])
        page.add_script_tag(content=(HERE / "sockjs_flow.mjs").read_text().replace("export async", "async"))
        yield page


def run_flow(page: Page, base: str, library: str, transport: str | None, user: str) -> dict[str, Any]:
    name = LIBRARIES[library][1]
    arguments = {"library": library, "transport": transport, "base": base, "user": user}
    seen: dict[str, Any] = page.evaluate(
        f"(given) => flow({{ ...given, SockJS: window.SockJS, module: window.{name} }})", arguments
    )
    return seen


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_in_a_browser_over_each_transport(browser: Browser, server: Server, library: str, transport: str) -> None:
    user = f"test-{transport}-{len(library)}"
    with open_page(browser, server.url, library) as page:
        seen = run_flow(page, server.url, library, transport, user)

    assert (seen["transport"], seen["data"], seen["same"]) == (transport, "订单 </script>", True)
    assert (seen["redelivered"], seen["status"]) == ([None, "true"], "delivered")
    assert seen["chat"] == f"from {user}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_in_a_browser_behind_a_proxy_that_blocks_websocket(browser: Browser, server: Server, library: str) -> None:
    with blocking_websockets(server.port) as blocker:
        url = f"http://127.0.0.1:{blocker.port}"
        with open_page(browser, url, library) as page:
            seen = run_flow(page, url, library, None, f"test-blocked-{len(library)}")

        assert seen["transport"] == "xhr-streaming"
        assert seen["pushed_ms"] < 3000
        assert blocker.blocked == 1
