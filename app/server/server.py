"""The HTTP server that the command line runs the application with."""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.startup import is_started
from app.http.limits import HttpWatch
from app.http.protocol import HttpProtocol
from app.main import create_app, settings_of
from app.picows.protocol import PicowsProtocol
from app.runtime.configuration import http_limits
from app.server.collector import collect_rarely
from app.server.listening import open_listeners, raise_file_limit
from app.server.loading import load_app, services_of
from app.server.logs import configure_logging
from app.server.workers import Workers
from app.settings import Settings

PONG_S = 20  # time a peer has to reply to a ping
PING_S = 25  # interval of pings on silent connections; balancers close them after a minute
DATE_S = 1.0  # interval at which the date in response headers is renewed
DRAIN_S = 10  # time for running requests to end at shutdown


def serve(settings: Settings, target: str | None = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    `target` names an application of the embedder, as in `load_app`; the server then uses the settings that this
    application was created with. Raises ConfigurationError, also for an address that cannot be bound.
    """
    configure_logging(level=settings.log_level, format=settings.log_format or "text")
    app = create_app(settings) if target is None else load_app(target)
    settings = settings_of(next(services_of(app))) or settings
    raise_file_limit()
    with open_listeners(settings.hosts, settings.port, settings.uds) as listeners:
        if settings.workers > 1:
            Workers(settings.workers, lambda lifeline: _serve_on(listeners, app, settings, lifeline)).run()
        else:
            _serve_on(listeners, app, settings)


def _serve_on(listeners: list[socket.socket], app: FastAPI, settings: Settings, lifeline: int | None = None) -> None:
    config = server_config(app, settings)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: sys.exit(0))
    DrainingServer(config, list(services_of(app)), lifeline).run(sockets=listeners)


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(HttpProtocol, watch=HttpWatch(http_limits(settings))),  # type: ignore[arg-type]  # called alone
        ws=_websocket_protocol(settings),
        # above the frame limits, so that a frame that is too large gets a STOMP ERROR first
        ws_max_size=2 * max(settings.max_frame_bytes, settings.max_connect_frame_bytes),
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        # The pong of a client that sends too fast waits behind its frames. picows knows that reading is paused; uvicorn
        # does not.
        ws_ping_timeout=PONG_S + (0 if settings.ws_transport == "picows" else settings.inbound_patience_ms / 1000),
        timeout_graceful_shutdown=DRAIN_S,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `app.api.proxied` applies them, for trusted proxies only
        server_header=False,
    )


def _websocket_protocol(settings: Settings) -> type[asyncio.Protocol]:
    if settings.ws_transport == "picows":
        return PicowsProtocol
    from app.transports.asgi_protocol import AsgiProtocol  # imports the websockets library

    return AsgiProtocol


class DrainingServer(uvicorn.Server):
    """Drains the sessions before uvicorn closes their sockets: clients get pending frames and a close code.

    `services`: the applications made by `create_app` whose sessions are drained. `lifeline`: a file descriptor; the
    server ends when it reaches the end of that file.
    """

    def __init__(self, config: uvicorn.Config, services: Sequence[FastAPI], lifeline: int | None = None) -> None:
        super().__init__(config)
        self._services = services
        self._lifeline = lifeline
        self._wake_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        collect_rarely(asyncio.get_running_loop())
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._end)

    def _end(self) -> None:
        self.should_exit = True
        self._wake_up.set()
        asyncio.get_running_loop().remove_reader(self._lifeline or -1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        asyncio.get_running_loop().call_soon_threadsafe(self._wake_up.set)

    async def main_loop(self) -> None:
        """Wait for the signal to end, and renew the date once a second. uvicorn's own loop polls ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake_up.wait(), DATE_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for app in self._services:
            if is_started(app):
                app.state.runtime.sockjs.drain()
                await app.state.runtime.gateway.drain()
        await super().shutdown(sockets)
