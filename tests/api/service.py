"""The whole application in this process, without a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from app.main import create_app
from app.runtime.runtime import Runtime
from app.settings import Settings
from tests.databases import migrated_database
from tests.fakes import FakeTransport
from tests.gateway.conversation import settle as turns

PUSH = "/vh-stomp-wsend"
PROBLEM = "application/problem+json"
KEY = "key-of-a-back-end-1"
SECRET = "a secret of at least 32 bytes, for tests"


def settings(**values: Any) -> Settings:
    """Neither the environment's nor .env's."""
    return Settings(_env_file=None, **{"log_ack_events": False} | values)


class Service:
    def __init__(self, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http

    @property
    def runtime(self) -> Runtime:
        runtime = self.app.state.runtime
        assert isinstance(runtime, Runtime)
        return runtime

    async def push(self, path: str, content: bytes | str = "hello", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(f"{PUSH}{path}", content=content, headers=named)

    async def push_json(self, path: str, value: object) -> httpx.Response:
        return await self.http.post(f"{PUSH}{path}", json=value)

    def listener(self, user: str = "test1", *destinations: str) -> FakeTransport:
        """A connected session that reads what comes with `frames()`."""
        transport = FakeTransport()
        connection = self.runtime.gateway.open(transport)
        connection.receive(f"CONNECT\naccept-version:1.2\npasscode:{user}\n\n\0".encode())
        for number, destination in enumerate(destinations or ("/user/queue/msg",)):
            connection.receive(f"SUBSCRIBE\nid:{number}\ndestination:{destination}\n\n\0".encode())
        return transport


@asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Service]:
    """`options` that are no settings go to `create_app`. A defect of the service fails the test by itself."""
    extensions = {name: options.pop(name) for name in ("authenticator", "routes", "types", "clock") if name in options}
    with ExitStack() as stack:
        if "database_url" not in options:
            options["database_url"] = stack.enter_context(migrated_database("sqlite"))
        async with _running(create_app(settings(**options), **extensions)) as running:
            yield running


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[Service]:
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as http:
            yield Service(app, http)


async def settle() -> None:
    """Lets everything be done that was begun for a session, reading what waits for it included."""
    await turns()
    begun = [task for task in asyncio.all_tasks() if task.get_name().startswith(("replay to", "frame of"))]
    if begun:
        await asyncio.wait(begun, timeout=5)
        await turns()


def problem(response: httpx.Response, status: int, slug: str | None = None) -> dict[str, Any]:
    """The problem that is in the answer, checked for what all of them have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    if slug is not None:
        assert body["type"] == f"urn:stomp-notify:problem:{slug}"
    assert isinstance(body, dict)
    return body
