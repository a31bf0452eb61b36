"""A server with the endpoints that SockJS is tested with."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from websockets.asyncio.client import ClientConnection, connect

from tests.sockjs_app import OPTIONS, create_sockjs_app
from tests.transports.raw_http import Base, Exchange, Reply
from tests.transports.serving import serving

JAVASCRIPT = "application/javascript; charset=UTF-8"
PLAIN = "text/plain; charset=UTF-8"
HTML = "text/html; charset=UTF-8"
FORM = {"content_type": "application/x-www-form-urlencoded"}


class Site:
    """The four endpoints on one server."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self.port = port
        self.echo = Base(port, "/echo")
        self.close = Base(port, "/close")
        self.without_websocket = Base(port, "/disabled_websocket_echo")
        self.with_cookie = Base(port, "/cookie_needed_echo")
        self._stack = stack

    async def stream(self, base: Base, path: str, method: str = "GET") -> tuple[Reply, Exchange]:
        """A response whose head has come."""
        exchange = await self._stack.enter_async_context(Exchange(self.port))
        await exchange.send(method, base.path + path)
        return await exchange.head(), exchange

    async def websocket(self, base: Base, path: str) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}{base.path}{path}"
        return await self._stack.enter_async_context(connect(url))


@asynccontextmanager
async def open_site(ws_transport: str = "picows", **changes: object) -> AsyncIterator[Site]:
    app = create_sockjs_app(replace(OPTIONS, **changes))  # type: ignore[arg-type]  # of any field
    async with serving(app, ws_transport, lifespan="on") as port, AsyncExitStack() as stack:
        yield Site(port, stack)


def session() -> str:
    return f"/000/{uuid.uuid4()}"


def assert_not_cached(reply: Reply) -> None:
    assert reply.headers["cache-control"] == "no-store, no-cache, must-revalidate, max-age=0"
    assert not {"expires", "last-modified", "etag"} & reply.headers.keys()


def assert_cached_for_a_year(reply: Reply) -> None:
    assert reply.headers["cache-control"] == "public, max-age=31536000"
    assert reply.headers["expires"].endswith("GMT")
    assert "last-modified" not in reply.headers


def assert_cross_origin(reply: Reply, origin: str = "*") -> None:
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-credentials"] == "true"


def assert_no_cookie(reply: Reply) -> None:
    assert "set-cookie" not in reply.headers
