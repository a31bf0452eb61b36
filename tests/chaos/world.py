"""The processes of a scenario, and the links between them."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import httpx

from tests.chaos.postgres import Postgres
from tests.chaos.processes import Port, Process
from tests.chaos.proxy import Link
from tests.chaos.valkey import Cluster, Sentinels, Valkey

ROOT = Path(__file__).parents[2]
NODES = 3
Topology = Literal["valkey", "sentinel", "cluster", "sqlite"]
ENV = {
    "APP_ENV": "dev",
    "AUTO_MIGRATE": "true",
    "ACK_CHECK_WAIT_MS": "3000",
    "ACK_RETRY_INTERVAL_MS": "5000",
    "ACK_MESSAGE_TTL_MS": "180000",
    "LOG_ACK_EVENTS": "false",
    "LOG_FORMAT": "text",
}
MESSAGE_TTL_S = 180.0


class Node:
    """One process of the service, with its own links to Valkey and PostgreSQL where the topology has them."""

    def __init__(self, number: int, directory: Path, env: Mapping[str, str]) -> None:
        self.number = number
        self._port = Port()
        home = directory / f"n{number}"
        home.mkdir()
        self.home = home
        fixed = {"PORT": str(self.port), "NODE_NAME": f"n{number}", "PYTHONPATH": str(ROOT)}
        self.process = Process(f"n{number}", [sys.executable, "-m", "app", "serve"], home, {**fixed, **env})

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Return once the node is ready."""
        self.process.start()
        await self.process.until(self.is_ready)

    async def is_ready(self) -> bool:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            try:
                return (await http.get(f"{self.url}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

    def close(self) -> None:
        self.process.close()
        self._port.close()


class World:
    """Everything that a scenario runs on. Enter it to start everything; its exit ends every process by pid.

    With `keep` the logs and data of the processes stay in `directory`.
    """

    def __init__(
        self,
        topology: Topology,
        env: Mapping[str, str],
        valkey_options: Mapping[str, str | int],
        keep: bool = False,
    ) -> None:
        self.topology = topology
        self.directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.nodes: list[Node] = []
        self.valkey_links: list[Link] = []
        self.postgres_links: list[Link] = []
        self.client_links: list[Link] = []
        self._env = {**ENV, **env}
        self._valkey_options = valkey_options
        self._keep = keep
        self._valkey: Valkey | None = None
        self._sentinels: Sentinels | None = None
        self._cluster: Cluster | None = None
        self._postgres: Postgres | None = None

    async def __aenter__(self) -> "World":
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    # What faults act on; each exists in its topology only

    @property
    def valkey(self) -> Valkey:
        assert self._valkey is not None
        return self._valkey

    @property
    def sentinels(self) -> Sentinels:
        assert self._sentinels is not None
        return self._sentinels

    @property
    def cluster(self) -> Cluster:
        assert self._cluster is not None
        return self._cluster

    @property
    def postgres(self) -> Postgres:
        assert self._postgres is not None
        return self._postgres

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.nodes[0].home / "notify.db"

    def tracebacks(self) -> int:
        return sum(node.process.log_text().count("Traceback (most recent call last)") for node in self.nodes)

    # Life

    async def _start(self) -> None:
        await self._start_nodes()
        for node in self.nodes:
            self.client_links.append(await _opened(node.port))

    async def _start_nodes(self) -> None:
        if self.topology == "sqlite":
            self.nodes.append(Node(0, self.directory, self._env))
            await self.nodes[0].start()
            return
        self._postgres = Postgres()
        async with asyncio.TaskGroup() as tasks:
            redis = tasks.create_task(self._start_redis())
            tasks.create_task(self._postgres.start())
        redis_url = redis.result()
        for number in range(NODES):
            self.postgres_links.append(await _opened(self._postgres.port))
            database = f"postgresql+asyncpg://postgres@127.0.0.1:{self.postgres_links[-1].port}/postgres"
            if self._valkey is not None:
                self.valkey_links.append(await _opened(self._valkey.port))
                redis_url = f"redis://127.0.0.1:{self.valkey_links[-1].port}"
            env = self._env | {"REDIS_URL": redis_url, "DATABASE_URL": database}
            self.nodes.append(Node(number, self.directory, env))
        async with asyncio.TaskGroup() as tasks:
            for node in self.nodes:
                tasks.create_task(node.start())

    async def _start_redis(self) -> str:
        if self.topology == "valkey":
            self._valkey = Valkey("valkey", self.directory, self._valkey_options)
            await self._valkey.start()
            return ""
        if self.topology == "sentinel":
            self._sentinels = Sentinels(self.directory)
            await self._sentinels.start()
            return self._sentinels.url
        self._cluster = Cluster(self.directory)
        await self._cluster.start()
        return self._cluster.url

    async def _close(self) -> None:
        """End everything, whatever fails meanwhile: processes first, because that waits for nothing else."""
        stores = [self._valkey, self._sentinels, self._cluster, self._postgres]
        with ExitStack() as stack:
            if not self._keep:
                stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            for item in (*self.nodes, *(store for store in stores if store is not None)):
                stack.callback(item.close)
        for link in (*self.client_links, *self.valkey_links, *self.postgres_links):
            await link.close()


async def _opened(port: int) -> Link:
    link = Link(port)
    await link.open()
    return link
