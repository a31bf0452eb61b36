"""The service under a path of an nginx, as `location /notify/` publishes it: with the path cut off or not."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.client import StompClient, listening
from tests.deploy.balancer import find_nginx, free_port, unprivileged
from tests.interop.console import open_console, running_browser
from tests.service import Server, running_server
from tests.sockjs_client import sockjs_client

START_TIMEOUT_S = 10
NGINX_CONF = """
daemon off; error_log stderr warn; pid {place}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; access_log off;
    fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    map $http_upgrade $node_connection {{ ~*^websocket$ upgrade; default ""; }}
    server {{
        listen 127.0.0.1:{port};
        location /notify/ {{
            proxy_pass http://127.0.0.1:{node}{path};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $node_connection;
            proxy_set_header X-Forwarded-For $remote_addr;
            {more}
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Site:
    """Where the service is published."""

    port: int
    node: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/notify"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/notify/stomp-ws"


@contextmanager
def published(node: Server, *, cut: bool, more: str = "") -> Iterator[Site]:
    """By an nginx that cuts the path off, or does not."""
    with tempfile.TemporaryDirectory(prefix="stomp-notify-nginx-") as directory:
        place, port = Path(directory), free_port()
        config = place / "nginx.conf"
        config.write_text(NGINX_CONF.format(place=place, port=port, node=node.port, path="/" if cut else "", more=more))
        command = [find_nginx(), "-p", directory, "-c", str(config), "-e", "stderr"]
        nginx = subprocess.Popen(command, **unprivileged(place))
        try:
            site = Site(port, node)
            _wait(site, nginx)
            yield site
        finally:
            nginx.terminate()
            nginx.wait(10)


def _wait(site: Site, nginx: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.get(f"{site.url}/healthz").raise_for_status()
        except httpx.HTTPError:
            assert nginx.poll() is None
            assert time.monotonic() < deadline_s, "nginx did not start"
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module", params=["root-path-cut", "root-path-kept", "header"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """ROOT_PATH behind either way of nginx, and the header of a trusted proxy."""
    if request.param == "header":
        with (
            running_server(TRUSTED_PROXIES="127.0.0.0/8") as node,
            published(node, cut=True, more="proxy_set_header X-Forwarded-Prefix /notify;") as site,
        ):
            yield site
    else:
        with (
            running_server(ROOT_PATH="/notify/") as node,
            published(node, cut=request.param == "root-path-cut") as site,
        ):
            yield site


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as http:
        yield http


def test_home_leads_to_the_page_under_the_path(site: Site, http: httpx.Client) -> None:
    answer = http.get(f"{site.url}/")

    assert (answer.status_code, answer.headers["location"]) == (307, "/notify/stomp-websocket-sockjs.html")
    assert http.get(answer.url.join(answer.headers["location"])).status_code == 200


def test_documentation_and_its_files_are_under_the_path(site: Site, http: httpx.Client) -> None:
    docs = http.get(f"{site.url}/docs").text

    assert "'/notify/openapi.json'" in docs
    assert http.get(f"{site.url}/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    document = http.get(f"{site.url}/openapi.json").json()
    assert document["servers"] == [{"url": "/notify"}]


def test_pushes_problems_and_files_are_under_the_path(site: Site, http: httpx.Client) -> None:
    pushed = http.post(f"{site.url}/vh-stomp-wsend/push_all_obj/test-nobody", content="hello")
    assert pushed.status_code == 200
    assert http.get(f"{site.url}/static/notify-client.js").status_code == 200
    assert http.get(f"{site.url}/nope").json()["status"] == 404
    assert http.get(f"{site.url}/stomp-ws/info").json()["websocket"] is True


def test_pages_of_other_origins_may_ask_sockjs_by_its_own_rules(site: Site, http: httpx.Client) -> None:
    origin = {"Origin": "https://shop.example"}

    assert http.get(f"{site.url}/stomp-ws/info", headers=origin).headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-credentials" not in http.get(f"{site.url}/healthz", headers=origin).headers


def test_service_still_answers_without_the_path(site: Site, http: httpx.Client) -> None:
    assert http.get(f"{site.node.url}/healthz").status_code == 200
    assert http.get(f"{site.node.url}/stomp-ws/info").status_code == 200


async def test_session_over_websocket_gets_a_push(site: Site) -> None:
    async with listening(site.websocket_url, "test1") as client:
        await push(site, "test1")
        assert (await client.expect("MESSAGE")).headers["destination"] == "/user/queue/msg"


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming"])
async def test_session_over_sockjs_gets_a_push(site: Site, transport: str) -> None:
    async with sockjs_client(site.port, transport, path="/notify/stomp-ws") as session:
        client = StompClient(session)  # type: ignore[arg-type]  # as much of a WebSocket as it uses
        await client.connect("test2")
        await client.subscribe()
        await push(site, "test2")
        await client.expect("MESSAGE")


async def push(site: Site, user: str) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{site.url}/vh-stomp-wsend/push_all_obj/{user}", content="hello")
        assert answer.json()["sessions"] == 1


@pytest.mark.parametrize("site", ["header"], indirect=True)
def test_page_works_in_a_browser_under_the_path(site: Site) -> None:
    with running_browser() as browser, open_console(browser, site) as console:
        console.connect("test3")
        expect(console.at("transport")).to_have_text("websocket")

        message_id = console.push("test3", "under a path", store=True)

        expect(console.row(message_id)).to_have_attribute("data-state", "acknowledged")
        assert console.run_curl("curl-user")["receiver"] == "test3"
        console.page.goto(f"{site.url}/docs")
        expect(console.page.get_by_text("/vh-stomp-wsend/push_msg").first).to_be_visible()
