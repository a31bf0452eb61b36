"""A real nginx with `deploy/nginx.conf` in front of two real nodes, each with a memory of its own."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from app.settings import Settings
from tests.client import listening, stomp_client
from tests.deploy.balancer import NGINX_CONF, Balancer, open_balancer, running_balancer
from tests.deploy.recorder import Recorder, recording_node
from tests.e2e.backend import PUSH, open_backend
from tests.service import Server, running_server
from tests.valkey import fresh_database

PROBLEM = "application/problem+json"
PUSH_TO_TEST1 = f"{PUSH}/push_all_obj/test1"
LARGEST_BODY: int = Settings.model_fields["http_max_body_bytes"].default
HANG_S = 1.0  # who has not answered by then will not do so

Nodes = tuple[Server, Server]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A page of its own origin may connect, and of no other."""
    with (
        running_server(ALLOWED_ORIGINS="https://app.example.com") as first,
        running_server(ALLOWED_ORIGINS="https://app.example.com") as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def balancer(nodes: Nodes) -> Iterator[Balancer]:
    with running_balancer(*(node.port for node in nodes)) as balancer:
        yield balancer


@pytest.fixture
async def http(balancer: Balancer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as http:
        yield http


@pytest.fixture
def mortals() -> Iterator[Nodes]:
    """Nodes that a test may end."""
    with running_server() as first, running_server() as second:
        yield first, second


@pytest.fixture
def before_mortals(mortals: Nodes) -> Iterator[Balancer]:
    with running_balancer(*(node.port for node in mortals)) as balancer:
        yield balancer


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with recording_node() as recorder:
        yield recorder


@pytest.fixture
async def recorded(recorder: Recorder) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the recorder, by way of nginx."""
    with running_balancer(recorder.port, recorder.port) as balancer:
        async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as http:
            yield http


def test_nginx_finds_nothing_wrong_with_the_configuration() -> None:
    with open_balancer(2025, 2025) as balancer:
        assert balancer.check() == 0, balancer.log()
        assert "[warn]" not in balancer.log()


# Sessions


async def test_a_message_and_its_acknowledgement_pass(balancer: Balancer, nodes: Nodes) -> None:
    async with (
        listening(balancer.websocket_url, "test-passing") as client,
        open_backend(await node_of("test-passing", nodes)) as backend,
    ):
        message_id = await backend.push("test-passing")

        message = await client.expect("MESSAGE")
        assert message.headers["message-id"] == message_id
        await client.ack(message_id)
        await backend.becomes(message_id, "delivered")


async def test_sessions_go_to_the_node_that_has_fewest(balancer: Balancer, nodes: Nodes) -> None:
    async with AsyncExitStack() as stack:
        for number in range(6):
            await stack.enter_async_context(listening(balancer.websocket_url, f"test-spread-{number}"))

        assert [len(await sessions(node, "test-spread-")) for node in nodes] == [3, 3]


async def test_a_page_of_the_own_origin_may_connect_and_no_other(balancer: Balancer) -> None:
    async with stomp_client(balancer.websocket_url, origin=Origin(balancer.url)) as client:
        await client.connect()

    with pytest.raises(InvalidStatus) as refused:
        async with stomp_client(balancer.websocket_url, origin=Origin("https://evil.example")):
            pass
    assert refused.value.response.status_code == 403


async def test_a_client_cannot_claim_an_address(balancer: Balancer, nodes: Nodes) -> None:
    claim = {"X-Forwarded-For": "192.0.2.66"}
    async with stomp_client(balancer.websocket_url, additional_headers=claim) as client:
        await client.connect("test-claim")

        (session,) = await sessions(await node_of("test-claim", nodes), "test-claim")
        assert session["remote"].startswith("127.0.0.1:")


def test_a_session_without_heartbeats_may_be_silent_for_an_hour() -> None:
    (location,) = re.findall(r"location /stomp-ws \{(.*?)\}", NGINX_CONF.read_text(), re.DOTALL)

    assert "proxy_read_timeout 1h;" in location
    assert "proxy_send_timeout 1h;" in location


async def test_sessions_of_a_node_that_ends_are_told_and_come_back_on_the_other(
    before_mortals: Balancer, mortals: Nodes
) -> None:
    async with listening(before_mortals.websocket_url, "test1") as client:
        ending = await node_of("test1", mortals)
        (staying,) = {*mortals} - {ending}
        ending.process.send_signal(signal.SIGTERM)
        assert await client.closed() == (1012, "service restart")

    async with listening(before_mortals.websocket_url, "test1"):
        assert await sessions(staying, "test1")


async def test_whichever_node_a_push_comes_to_it_reaches_a_session_that_is_bound_to_none() -> None:
    with (
        fresh_database() as redis_url,
        running_server(REDIS_URL=redis_url) as first,
        running_server(REDIS_URL=redis_url) as second,
        running_balancer(first.port, second.port) as balancer,
    ):
        async with (
            listening(balancer.websocket_url, "test1") as client,
            httpx.AsyncClient(base_url=balancer.url, timeout=30) as http,
        ):
            pushed = [(await http.post(PUSH_TO_TEST1, content="hello")).json() for _ in range(6)]

            received = [await client.expect("MESSAGE") for _ in pushed]
            assert [frame.headers["message-id"] for frame in received] == [answer["id"] for answer in pushed]


# Pushes


async def test_a_push_reaches_one_node(http: httpx.AsyncClient, nodes: Nodes) -> None:
    answer = await http.post(PUSH_TO_TEST1, content="hello")

    assert answer.status_code == 200
    path = f"{PUSH}/push_status/{answer.json()['id']}"
    assert sorted([(await http.get(node.url + path)).status_code for node in nodes]) == [200, 404]


async def test_a_body_of_the_largest_size_passes(http: httpx.AsyncClient) -> None:
    answer = await http.post(PUSH_TO_TEST1, content=b"x" * LARGEST_BODY)

    assert answer.status_code == 200


@pytest.mark.parametrize("size", [LARGEST_BODY + 1, 600_000, 5_000_000])
async def test_a_larger_body_is_refused_in_the_words_of_the_service(
    http: httpx.AsyncClient, nodes: Nodes, size: int
) -> None:
    refused = await http.post(PUSH_TO_TEST1, content=b"x" * size)

    by_the_service = await http.post(nodes[0].url + PUSH_TO_TEST1, content=unannounced(LARGEST_BODY + 1))
    assert (refused.status_code, refused.headers["content-type"]) == (413, PROBLEM)
    assert refused.json() == by_the_service.json()


async def test_metrics_are_not_for_the_world(recorder: Recorder, recorded: httpx.AsyncClient) -> None:
    assert (await recorded.get("/metrics")).status_code == 404
    assert recorder.requests == []


async def test_connections_to_a_node_are_kept(recorder: Recorder, recorded: httpx.AsyncClient) -> None:
    for _ in range(40):
        await recorded.post("/", content="hello")

    assert len(recorder.requests) == 40
    assert recorder.versions == {"HTTP/1.1"}
    assert len(recorder.connections) < 20  # each worker keeps its own


def test_nginx_lets_go_of_an_idle_connection_before_the_node_does() -> None:
    (kept_s,) = re.findall(r"keepalive_timeout (\d+)s;", NGINX_CONF.read_text())

    assert int(kept_s) < Settings().http_keep_alive_ms / 1000


async def test_a_node_sees_who_asks_and_for_what_host(recorder: Recorder, recorded: httpx.AsyncClient) -> None:
    await recorded.get("/", headers={"Host": "notify.example.com:8443", "X-Forwarded-Proto": "gopher"})

    (seen,) = recorder.requests
    assert seen["host"] == seen["x-forwarded-host"] == "notify.example.com:8443"
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")


async def test_no_upgrade_passes_but_that_to_websocket(recorder: Recorder, recorded: httpx.AsyncClient) -> None:
    await recorded.get("/", headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    await recorded.get("/", headers={"Connection": "Upgrade", "Upgrade": "WebSocket"})

    h2c, websocket = recorder.requests
    assert {"upgrade", "connection"}.isdisjoint(h2c)
    assert (websocket["upgrade"], websocket["connection"]) == ("websocket", "upgrade")


# Nodes that end


async def test_a_push_on_which_a_node_died_is_not_repeated_on_the_other(
    before_mortals: Balancer, mortals: Nodes
) -> None:
    dying, living = mortals
    async with (
        listening(living.websocket_url, "test1") as client,
        httpx.AsyncClient(base_url=before_mortals.url, timeout=30) as http,
    ):
        answered, lost = await ask_while_it_dies([http.post(PUSH_TO_TEST1, content="hello") for _ in range(4)], dying)

        assert [answer.status_code for answer in answered] == [200] * len(answered)
        for answer in lost:
            assert (answer.status_code, answer.headers["content-type"]) == (502, PROBLEM)
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["status"] == 502
        for _ in answered:
            await client.expect("MESSAGE")
        await client.silent(HANG_S)


async def test_a_question_on_which_a_node_died_is_asked_of_the_other(before_mortals: Balancer, mortals: Nodes) -> None:
    async with httpx.AsyncClient(base_url=before_mortals.url, timeout=30) as http:
        answered, repeated = await ask_while_it_dies([http.get("/healthz") for _ in range(4)], mortals[0])

        assert [answer.status_code for answer in answered + repeated] == [200] * 4


async def test_a_push_goes_to_the_other_node_when_one_is_down(before_mortals: Balancer, mortals: Nodes) -> None:
    mortals[0].stop(signal.SIGKILL)

    async with httpx.AsyncClient(base_url=before_mortals.url, timeout=30) as http:
        answers = [await http.post(PUSH_TO_TEST1, content="hello") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_nodes_that_come_back_are_asked_at_once(before_mortals: Balancer, mortals: Nodes) -> None:
    for node in mortals:
        node.stop(signal.SIGKILL)

    async with httpx.AsyncClient(base_url=before_mortals.url, timeout=30) as http:
        for _ in range(4):
            answer = await http.post(PUSH_TO_TEST1, content="hello")
            assert (answer.status_code, answer.headers["content-type"]) == (502, PROBLEM)

        mortals[1].start()
        mortals[1].wait_until_ready()
        assert (await http.post(PUSH_TO_TEST1, content="hello")).status_code == 200


async def unannounced(size: int) -> AsyncIterator[bytes]:
    """A body without Content-Length."""
    yield b"x" * size


async def ask_while_it_dies(
    requests: Sequence[Coroutine[Any, Any, httpx.Response]], node: Server
) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """The answers of before its death, and those that its death brought about; it had taken the requests of these."""
    node.process.send_signal(signal.SIGSTOP)
    done, hanging = await asyncio.wait([asyncio.create_task(request) for request in requests], timeout=HANG_S)
    assert done, "the other node answers"
    assert hanging, "the node that does not answer was asked as well"
    node.stop(signal.SIGKILL)
    return [task.result() for task in done], await asyncio.gather(*hanging)


async def node_of(user: str, nodes: Nodes) -> Server:
    """The one that has a session of the user."""
    (found,) = [node for node in nodes if await sessions(node, user)]
    return found


async def sessions(node: Server, user_prefix: str) -> list[dict[str, str]]:
    async with open_backend(node) as backend:
        return [session for session in await backend.sessions() if session["user"].startswith(user_prefix)]
