"""The endpoints that the test suite of the SockJS protocol expects: python -m tests.sockjs_app PORT

As version 0.3.3 of the protocol has them; with `--later-protocol` as the service has them, for the clients of today.
"""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from app.api.sockjs import sockjs_router
from app.disconnects import DisconnectReason
from app.hub.transport import Transport
from app.server.server import server_config
from app.settings import Settings
from app.sockjs.endpoint import SockJs
from app.sockjs.options import SockJsOptions
from app.timing.clock import SystemClock
from app.transports.endpoint import ConnectionHandler, Endpoint
from app.transports.opening import WebSocketOptions
from tests.nodes import running

GO_AWAY = DisconnectReason(3000, "Go away!", "go_away")
OPTIONS = SockJsOptions(response_limit=4096, websockets=WebSocketOptions(allowed_origins=("*",)), protocol_0_3_3=True)


class Echo:
    """Sends back what it is sent."""

    def open(self, transport: Transport) -> ConnectionHandler:
        return EchoPeer(transport)


class EchoPeer:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def receive(self, data: bytes) -> None:
        self._transport.send(data)

    def end(self, reason: DisconnectReason) -> None:
        self._transport.close(reason)

    def closed(self) -> None: ...


class GoAway(Echo):
    """Closes at once."""

    def open(self, transport: Transport) -> ConnectionHandler:
        transport.close(GO_AWAY)
        return EchoPeer(transport)


def create_sockjs_app(options: SockJsOptions = OPTIONS) -> FastAPI:
    mounts = {
        "/echo": mount(Echo(), options),
        "/disabled_websocket_echo": mount(Echo(), replace(options, websocket=False)),
        "/cookie_needed_echo": mount(Echo(), replace(options, cookie_needed=True)),
        "/close": mount(GoAway(), options),
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for sockjs in mounts.values():
                await stack.enter_async_context(running(sockjs.run))
                stack.push_async_callback(sockjs.aclose)
            yield

    app = FastAPI(lifespan=lifespan, redirect_slashes=False)
    for prefix, sockjs in mounts.items():
        app.include_router(sockjs_router(always(sockjs)), prefix=prefix)
    app.state.mounts = mounts
    return app


def mount(endpoint: Endpoint, options: SockJsOptions) -> SockJs:
    return SockJs(endpoint, options, clock=SystemClock())


def always(sockjs: SockJs) -> Callable[[], Awaitable[SockJs]]:
    async def get() -> SockJs:
        return sockjs

    return get


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--later-protocol", action="store_true")
    parser.add_argument("--ws-transport", choices=["picows", "asgi"], default="picows")
    arguments = parser.parse_args()
    app = create_sockjs_app(replace(OPTIONS, protocol_0_3_3=not arguments.later_protocol))
    config = server_config(app, Settings(ws_transport=arguments.ws_transport))
    config.port = arguments.port
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
