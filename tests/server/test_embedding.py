"""The service within an application of the embedder: mounted with `app.main.mount`, mounted without, and served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus

from app.main import create_app, mount
from app.settings import Settings
from tests.client import listening, stomp_client
from tests.service import Server, running
from tests.valkey import fresh_database

PUSH = "/notify/vh-stomp-wsend/push_all_obj/test1"

EMBEDDER = """
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from app.gateway.routing import AppMessage, DestinationRoutes
from app.main import create_app, mount

routes = DestinationRoutes()


@routes.message("/app/echo")
async def echo(message: AppMessage) -> None:
    await message.push(message.user, message.json(), ack=False)


@asynccontextmanager
async def lifespan(app: FastAPI):
    yield {"greeting": "hello"}


def create() -> FastAPI:
    parent = FastAPI(lifespan=lifespan)

    @parent.get("/greeting")
    async def greeting(request: Request) -> str:
        return request.state.greeting

    mount(parent, "/notify", create_app(routes=routes))
    return parent
"""

BARE = """
from fastapi import FastAPI

from app.main import create_app

app = FastAPI()
app.mount("/notify", create_app())
"""


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as http:
        yield http


async def test_mounted_service_starts_and_ends_with_its_parent() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        seen.append("start")
        yield {"own": "state of the parent"}
        seen.append("end")

    parent, service = FastAPI(lifespan=lifespan), create_app(Settings())
    mount(parent, "/notify", service)
    async with parent.router.lifespan_context(parent) as state, client_of(parent) as http:
        assert state is not None
        assert state["own"] == "state of the parent"
        assert len(state) == 2  # the server takes the limits of connections from it, too
        answer = await http.post(PUSH, content="hello")
        assert (answer.status_code, answer.json()["status"]) == (200, "stored")
        assert (await http.get("/notify/readyz")).status_code == 200
        assert seen == ["start"]
    assert seen == ["start", "end"]


@pytest.mark.parametrize("path", [PUSH, "/notify/vh-stomp-wsend/push_batch", "/notify/nothing/here"])
async def test_requests_of_a_service_that_was_not_started_are_refused_with_what_to_do(path: str) -> None:
    parent = FastAPI()
    parent.mount("/notify", create_app(Settings()))
    async with client_of(parent) as http:
        answer = await http.post(path, content="hello")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "app.main.mount(parent, path, app)" in answer.json()["detail"]


@pytest.mark.parametrize("transport", ["picows", "asgi"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_embedders_application_is_served_with_its_handlers_and_drained(transport: str, workers: str) -> None:
    with fresh_database() as redis_url:
        env = {"WS_TRANSPORT": transport, "WORKERS": workers, "REDIS_URL": redis_url}
        server = Server(env, arguments=("serve", "--app", "embedder:create"), files={"embedder.py": EMBEDDER})
        with running(server, "/notify/readyz"):
            assert httpx.get(f"{server.url}/greeting").json() == "hello"
            asyncio.run(converse_and_stop(server))


async def converse_and_stop(server: Server) -> None:
    async with (
        listening(f"ws://127.0.0.1:{server.port}/notify/stomp-ws") as client,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await client.send("SEND", {"destination": "/app/echo"}, '"to myself"')
        assert b"to myself" in (await client.expect("MESSAGE")).body
        (await http.post(PUSH, content="hello")).raise_for_status()
        assert b"hello" in (await client.expect("MESSAGE")).body
        closed = asyncio.create_task(client.closed())
        assert await asyncio.to_thread(server.stop) == 0
        assert (await closed)[0] == 1012


def test_web_socket_of_a_service_that_was_not_started_is_refused() -> None:
    server = Server(program=("-m", "uvicorn", "embedder:app", "--port", "0"), arguments=(), files={"embedder.py": BARE})
    with running(server, "/openapi.json"):
        asyncio.run(refused(f"ws://127.0.0.1:{server.port}/notify/stomp-ws"))


def test_server_of_a_service_that_was_not_started_ends_in_order() -> None:
    server = Server(arguments=("serve", "--app", "embedder:app"), files={"embedder.py": BARE})
    with running(server, "/openapi.json"):
        assert httpx.get(f"{server.url}/notify/readyz").status_code == 503
        assert server.stop() == 0


async def refused(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with stomp_client(url):
            pass
    assert caught.value.response.status_code == 503
    assert b"app.main.mount" in caught.value.response.body
