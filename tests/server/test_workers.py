"""WORKERS processes on one port, joined by Redis."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client import listening
from tests.e2e.backend import Backend, eventually, open_backend
from tests.e2e.trio import QUICK
from tests.service import Server, running_server
from tests.valkey import running_valkey

WORKERS = 3
CALLS = 60  # new connections, for every worker to get one


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with (
        running_valkey() as valkey,
        running_server(**QUICK, REDIS_URL=valkey.url, WORKERS=str(WORKERS), LOG_ACK_EVENTS="false") as server,
    ):
        yield server


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[Backend]:
    async with open_backend(server) as backend:
        yield backend


async def once(server: Server, method: str, path: str, **content: Any) -> Any:
    """The JSON of an answer over a connection of its own, which any worker may take."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.request(method, path, **content)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def nodes(server: Server) -> set[str]:
    return {(await once(server, "GET", "/readyz"))["node"] for _ in range(CALLS)}


async def all_started(server: Server, count: int) -> None:
    """One that answers is not all."""

    async def started() -> int:
        return server.log().count("Application startup complete")

    await eventually(started, lambda number: number >= count, timeout_s=15)


def alive_pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def children(server: Server) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_workers_are_nodes_that_share_the_port_and_the_sessions(server: Server, backend: Backend) -> None:
    assert len(await eventually(lambda: nodes(server), lambda names: len(names) > 1)) > 1
    async with listening(server.websocket_url, "test1") as client:
        for _ in range(20):
            answer = await once(server, "POST", "/vh-stomp-wsend/push_all_obj/test1", content="hello")
            assert answer["status"] == "sent"
            assert (await client.expect("MESSAGE")).headers["message-id"] == answer["id"]
            await client.ack(answer["id"])
        (session,) = await backend.sessions("test1")
        assert session["node"]


async def test_a_worker_that_dies_is_replaced(server: Server, backend: Backend) -> None:
    await all_started(server, WORKERS)
    before = children(server)
    assert len(before) == WORKERS
    os.kill(before[0], signal.SIGKILL)

    async def alive() -> list[int]:
        return children(server)

    after = await eventually(alive, lambda pids: len(pids) == WORKERS and before[0] not in pids, timeout_s=10)
    assert set(before[1:]) < set(after)
    assert f"worker {before[0]} ended with -9 and is replaced" in server.log()


async def test_workers_end_with_the_process_that_started_them() -> None:
    with running_valkey() as valkey, running_server(**QUICK, REDIS_URL=valkey.url, WORKERS="2") as server:
        await all_started(server, 2)
        pids = children(server)
        async with listening(server.websocket_url, "test1") as client:
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            assert await client.closed() == (1012, "service restart")

        async def left() -> list[int]:
            return [pid for pid in pids if pid in alive_pids()]

        assert await eventually(left, lambda pids: not pids, timeout_s=15) == []


async def test_sigterm_ends_all_workers_and_their_sessions() -> None:
    with running_valkey() as valkey, running_server(**QUICK, REDIS_URL=valkey.url, WORKERS="2") as server:
        await all_started(server, 2)
        async with listening(server.websocket_url, "test1") as one, listening(server.websocket_url, "test2") as two:
            server.process.send_signal(signal.SIGTERM)
            for client in (one, two):
                assert await client.closed() == (1012, "service restart")
        assert await asyncio.to_thread(server.process.wait, 20) == 0


STOPPED_AFTER_THE_FIRST = """
import signal, time
from app.server.workers import Workers

class Stopped(Workers):
    def _start(self):
        super()._start()
        if len(self._processes) == 1:
            signal.raise_signal(signal.SIGTERM)

Stopped(3, lambda lifeline: time.sleep(20)).run()
"""


def test_sigterm_between_two_starts_ends_the_first_and_starts_no_other() -> None:
    subprocess.run([sys.executable, "-c", STOPPED_AFTER_THE_FIRST], timeout=10, check=True)
