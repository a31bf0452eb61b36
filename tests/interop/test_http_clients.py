"""HTTP clients that back ends push with: what they send arrives whole, and their connections stay in order."""

import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.client import StompClient, listening
from tests.interop.foreign_clients import by_curl, by_go, by_java, by_node
from tests.interop.pushes import Case, Result, make_plan
from tests.interop.python_clients import by_aiohttp, by_httpx, by_requests
from tests.proxy import Proxy
from tests.service import Server, running_server

Perform = Callable[[str, Sequence[Case]], Awaitable[list[Result]]]

# What performs the plan, in which modes, and with how many clients that have a connection each.
# `chunks` are two parts of a body of unknown length, `halves` of known length.
CLIENTS: dict[str, tuple[Perform, tuple[str, ...], int]] = {
    "curl": (by_curl, ("curl-one", "curl-chunks"), 12),  # a process for each push
    "requests": (by_requests, ("one", "chunks"), 1),
    "httpx": (by_httpx, ("one", "chunks", "halves"), 1),
    "aiohttp": (by_aiohttp, ("one", "chunks", "halves"), 1),
    "node": (by_node, ("fetch-one", "fetch-chunks", "undici-one", "undici-chunks", "undici-halves"), 2),
    "go": (by_go, ("go-one", "go-chunks", "go-halves"), 1),
    "java": (
        by_java,
        ("jdk-one", "jdk-chunks", "jdk-halves", "spring-one", "spring-chunks", "spring-halves"),
        2,
    ),
}


class CountingProxy(Proxy):
    """Counts the connections that clients open."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.opened = 0

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.opened += 1
        super()._accept(reader, writer)


@pytest.fixture(scope="module", params=["picows", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running_server(WS_TRANSPORT=request.param, LOG_ACK_EVENTS="false") as server:
        yield server


@pytest.mark.parametrize("name", CLIENTS)
async def test_every_push_of_a_client_arrives_as_it_was_sent(name: str, server: Server) -> None:
    perform, modes, clients = CLIENTS[name]
    user = f"test-{name}"
    plan = make_plan(modes, user)
    proxy = CountingProxy(server.port)
    await proxy.allow()
    try:
        async with listening(server.websocket_url, user) as listener:
            await listener.subscribe(f"/topic/{user}", "topic")
            results = await perform(f"http://127.0.0.1:{proxy.port}", plan)
            answered = [accepted(case, result) for case, result in zip(plan, results, strict=True)]
            assert answered == [(case.mode, case.path, 200, 200) for case in plan]
            for case in plan:
                assert [await next_data(listener) for _ in case.data] == [*case.data], (case.mode, case.path)
        assert proxy.opened == clients
    finally:
        await proxy.close()


def accepted(case: Case, result: Result) -> tuple[str, str, int, int]:
    """What was answered; a success has to be one to the last."""
    if result.status == 200:
        answer = json.loads(result.body)
        for one in answer.get("results", [answer]):
            assert one["sessions"] == 1, answer
    if result.next_status == 200:
        assert json.loads(result.next_body)["status"] == "ok"
    return case.mode, case.path, result.status, result.next_status


async def next_data(listener: StompClient) -> Any:
    """The data of the next message, which is acknowledged."""
    frame = await listener.expect("MESSAGE")
    await listener.ack(frame.headers["message-id"])
    return json.loads(frame.body)["data"]
