"""nginx with the configuration of `deploy/`, in front of servers on this machine; without root, as in its container."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.interop.tools import missing

NGINX_CONF = Path(__file__).parents[2] / "deploy" / "nginx.conf"
START_TIMEOUT_S = 10


class Balancer:
    """`node_ports` take the places of node1 and node2; nothing else of the configuration is changed but its places."""

    def __init__(self, node_ports: Sequence[int]) -> None:
        self._program = find_nginx()
        self._directory = tempfile.TemporaryDirectory(prefix="stomp-notify-nginx-")
        self._place = Path(self._directory.name)
        self._log = self._place / "log"
        self._config = self._place / "nginx.conf"
        self.port = free_port()
        self._log.touch()
        self._config.write_text(_adapted(NGINX_CONF.read_text(), self.port, node_ports, self._place))
        self._identity = unprivileged(self._place, self._log)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stomp-ws"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def check(self) -> int:
        """The exit status of nginx when it only looks at its configuration; the log has what it says."""
        with self._log.open("ab") as log:
            return subprocess.run(
                [*self._command, "-t"], stdout=log, stderr=log, timeout=START_TIMEOUT_S, **self._identity
            ).returncode

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "-g", "daemon off;"], stdout=log, stderr=log, **self._identity
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start:\n{self.log()}")
            time.sleep(0.02)

    def close(self) -> None:
        try:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(timeout=10)
        finally:
            self._directory.cleanup()

    @property
    def _command(self) -> list[str]:
        return [self._program, "-p", str(self._place), "-c", str(self._config), "-e", "stderr"]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/metrics").status_code == 404  # no node is asked for it
        except httpx.TransportError:
            return False


@contextmanager
def open_balancer(*node_ports: int) -> Iterator[Balancer]:
    """Not running; `running_balancer` is."""
    balancer = Balancer(node_ports)
    try:
        yield balancer
    finally:
        balancer.close()


@contextmanager
def running_balancer(*node_ports: int) -> Iterator[Balancer]:
    with open_balancer(*node_ports) as balancer:
        balancer.start()
        yield balancer


def upstream_servers(config: str) -> list[tuple[str, int]]:
    """Names and ports of the nodes."""
    return [(name, int(port)) for name, port in re.findall(r"^\s*server ([\w.-]+):(\d+)\b", config, re.MULTILINE)]


def _adapted(config: str, port: int, node_ports: Sequence[int], directory: Path) -> str:
    """Addresses and paths that are free here. `resolve` goes with the names: older versions do not know it."""
    ports = iter(node_ports)
    config, nodes = re.subn(r"server node\d+:\d+ resolve", lambda _: f"server 127.0.0.1:{next(ports)}", config)
    config, listens = re.subn(r"listen 2025;", f"listen 127.0.0.1:{port};", config)
    assert (nodes, listens) == (len(node_ports), 1), "the configuration is not as it was"
    return config.replace("/tmp/", f"{directory}/")


def unprivileged(*paths: Path) -> dict[str, Any]:
    """For subprocess: another user than root, who may write to `paths`."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for path in paths:
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def find_nginx() -> str:
    """It is where only root looks for programs."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") or missing(
        "nginx is not installed"
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
