"""A real uvicorn on a free port, configured as in production."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from app.server.server import server_config
from app.settings import Settings


@asynccontextmanager
async def serving(
    app: ASGIApp, ws_transport: str = "picows", *, settings: Settings | None = None, **changes: object
) -> AsyncIterator[int]:
    """Run in the event loop of the test and yield the port. `changes` are attributes of uvicorn's configuration."""
    server = _server(app, settings or Settings.model_validate({"ws_transport": ws_transport}), changes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110 — nothing tells when
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            async with asyncio.timeout(20):
                await running


@contextmanager
def serving_on_uvloop(app: ASGIApp, **changes: object) -> Iterator[int]:
    """Run in a separate thread on uvloop, as in production, and yield the port."""
    server = _server(app, Settings(), changes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def _server(app: ASGIApp, settings: Settings, changes: dict[str, object]) -> uvicorn.Server:
    config = server_config(app, settings)
    config.lifespan = "off"
    for name, value in changes.items():
        setattr(config, name, value)
    return uvicorn.Server(config)
