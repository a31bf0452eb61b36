"""Without the garbage collector, nothing of the service outlives the sessions and messages that it belongs to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.backend import eventually, open_backend
from tests.memory.load import LOG_SIZE, SETTINGS, run_load
from tests.service import Server, running_server
from tests.valkey import running_valkey

PROGRAM = (str(Path(__file__).with_name("counted_server.py")),)
ROUNDS = 3
SETTLE_TIMEOUT_S = 30.0
TRACE, RECORD = "app.delivery.log.Trace", "app.delivery.log.Record"
OF_SESSIONS_AND_MESSAGES = (
    "app.hub.session.Session",
    "app.hub.session.Draining",
    "app.gateway.connection.Connection",
    "app.picows.socket.PicowsSocket",
    "app.sockjs.session.SockJsSession",
    "app.messages.message.Envelope",
    "app.messages.message.MessageEncoder",
)
# Bounded, and filled by what clients happen to send and by the users that are pushed to.
CACHES = ("app.stomp.plain.PlainHead", "app.cluster.keys.UserKeys")
UNFINISHED = ("frame", "traceback", "coroutine", "async_generator", "Task")


@pytest.fixture(params=["memory", "redis"])
def servers(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """One node on its own, or two nodes with a Redis."""
    with ExitStack() as stack:
        settings = [SETTINGS]
        if request.param == "redis":
            settings = [SETTINGS | {"REDIS_URL": stack.enter_context(running_valkey()).url}] * 2
        yield [stack.enter_context(running_server(PROGRAM, **env)) for env in settings]


@pytest.mark.timeout(300)
async def test_load_leaves_nothing_to_the_garbage_collector(servers: list[Server]) -> None:
    await run_rounds(servers, "first", 1)
    known = {server.port: await live_when_idle(server) for server in servers}

    await run_rounds(servers, "more", ROUNDS)

    for server in servers:
        await eventually(lambda: growth(server, known[server.port]), lambda more: not more, SETTLE_TIMEOUT_S)  # noqa: B023
        live = await ask(server, "/live")
        assert (live[TRACE], live[RECORD]) == (LOG_SIZE, LOG_SIZE if server is servers[0] else 0)
        garbage = await ask(server, "/garbage")
        assert not {name: count for name, count in garbage.items() if is_ours(name) or name.endswith(UNFINISHED)}


async def run_rounds(servers: Sequence[Server], name: str, rounds: int) -> None:
    """Connections of the back end end with it: they are objects of the service, too."""
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(open_backend(server)) for server in servers]
        for number in range(rounds):
            await run_load(backends[0], backends[-1], f"{name}{number}")


async def ask(server: Server, path: str) -> Counter[str]:
    """`/live` or `/garbage`, on a connection of its own."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        return Counter((await http.get(path)).json())


async def live_when_idle(server: Server) -> Counter[str]:
    """Once no session is left, and no message has to wait for anybody."""
    return await eventually(
        lambda: ask(server, "/live"),
        lambda live: not any(live[name] for name in OF_SESSIONS_AND_MESSAGES),
        SETTLE_TIMEOUT_S,
    )


async def growth(server: Server, known: Counter[str]) -> Counter[str]:
    """Tasks that run for ever are a few more or less; what a round leaves behind is at least one for each."""
    more = await ask(server, "/live") - known
    return Counter({name: n for name, n in more.items() if is_ours(name) or (n >= ROUNDS and name not in CACHES)})


def is_ours(name: str) -> bool:
    return name.startswith("app.") and name not in CACHES
