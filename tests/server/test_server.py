"""The loop of the server process: what it does while nothing happens, and how it learns that it has to end."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from app.server import server as module
from app.server.server import DrainingServer, server_config
from app.settings import Settings

SOON_S = 2.0


@asynccontextmanager
async def waiting(lifeline: int | None = None) -> AsyncIterator[tuple[DrainingServer, asyncio.Task[None]]]:
    """A server in its main loop, without sockets."""
    app = FastAPI()
    config = server_config(app, Settings())
    config.load()
    config.lifespan = "off"
    server = DrainingServer(config, [], lifeline)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])
    loop = asyncio.create_task(server.main_loop())
    await asyncio.sleep(0)
    yield server, loop
    loop.cancel()


@pytest.fixture(autouse=True)
def slow_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DATE_S", 600.0)


async def test_main_loop_ends_at_a_signal_and_not_when_the_date_is_due() -> None:
    async with waiting() as (server, loop):
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(loop, SOON_S)
        assert server.should_exit


async def test_main_loop_that_begins_after_the_signal_ends_at_once() -> None:
    async with waiting() as (server, first):
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(first, SOON_S)
        await asyncio.wait_for(server.main_loop(), SOON_S)


async def test_second_interrupt_forces_the_exit() -> None:
    async with waiting() as (server, loop):
        server.handle_exit(signal.SIGINT, None)
        await asyncio.wait_for(loop, SOON_S)
        assert not server.force_exit
        server.handle_exit(signal.SIGINT, None)
        assert server.force_exit


async def test_main_loop_ends_with_the_lifeline() -> None:
    end, held = os.pipe()
    async with waiting(lifeline=end) as (_, loop):
        os.close(held)
        await asyncio.wait_for(loop, SOON_S)
    os.close(end)


async def test_date_of_answers_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DATE_S", 0.01)
    dates = iter(f"date {number}" for number in range(1_000_000))
    monkeypatch.setattr(uvicorn.server, "formatdate", lambda *_, **__: next(dates))
    async with waiting() as (server, _):
        seen: set[bytes] = set()
        async with asyncio.timeout(SOON_S):
            while len(seen) < 3:
                seen.update(value for name, value in server.server_state.default_headers if name == b"date")
                await asyncio.sleep(0.005)


def test_a_client_that_is_read_slowly_has_the_time_for_its_pong() -> None:
    paused = Settings(ws_transport="asgi", inbound_patience_ms=40_000)
    assert (server_config(FastAPI(), paused).ws_ping_timeout or 0) > 40
    assert server_config(FastAPI(), Settings(ws_transport="picows")).ws_ping_timeout == 20
