"""Servers of other people, started for a measurement alone: own ports of the loopback, own directories, on one core."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machine import SERVER_CORE

HERE = Path(__file__).parent
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in PATH insists on a user and on directories
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
_LISTENING = re.compile(r"listening on port (\d+)")

RABBITMQ_CONFIG = """\
listeners.tcp = none
stomp.listeners.tcp = none
web_stomp.tcp.ip = 127.0.0.1
web_stomp.tcp.port = {port}
web_stomp.ws_opts.idle_timeout = 3600000
"""  # of consumers that only listen it would hang up after a minute


@dataclass(frozen=True, slots=True)
class Peer:
    pid: int
    port: int


@contextmanager
def started(command: Sequence[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """On the server's core from its first moment: some look how many there are, and start as many threads."""
    core = SERVER_CORE % (os.cpu_count() or 1)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=log.parent, env=os.environ | env, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def missing_socketio() -> str | None:
    """Why it cannot be measured; it is installed beside this file if npm is there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node.js is not installed"
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["socket.io"]
    manifest = HERE / "node_modules/socket.io/package.json"
    if manifest.is_file() and json.loads(manifest.read_text())["version"] == wanted:
        return None
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError):
        return f"npm could not install socket.io {wanted}"
    return None


@contextmanager
def running_socketio() -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        log = Path(directory, "log")
        with started(["node", str(HERE / "socketio.mjs")], log) as process:
            yield Peer(process.pid, int(wait_for(log, process)))


def wait_for(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if found := _LISTENING.search(log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def missing_rabbitmq() -> str | None:
    """Why it cannot be measured."""
    return None if RABBITMQ.exists() and shutil.which("epmd") else "rabbitmq-server is not installed"


@contextmanager
def running_rabbitmq() -> Iterator[Peer]:
    """Web STOMP alone, with the user guest. Its port mapper is one of our own, or it would outlive it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        port, mapper_port, distribution_port = (free_port() for _ in range(3))
        here = Path(directory)
        (here / "rabbitmq.conf").write_text(RABBITMQ_CONFIG.format(port=port))
        (here / "enabled_plugins").write_text("[rabbitmq_web_stomp].\n")
        mapper = ["epmd", "-address", "127.0.0.1", "-port", str(mapper_port)]
        stack.enter_context(started(mapper, here / "epmd.log"))
        env = rabbitmq_environment(here, mapper_port, distribution_port)
        process = stack.enter_context(started([str(RABBITMQ)], here / "rabbitmq.log", **env))
        wait_for_port(port, process, here / "rabbitmq.log")
        yield Peer(process.pid, port)


def rabbitmq_environment(here: Path, mapper_port: int, distribution_port: int) -> dict[str, str]:
    return {
        "HOME": str(here),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
        "RABBITMQ_LOG_BASE": str(here / "log"),
        "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
        "RABBITMQ_NODENAME": f"bench{mapper_port}@localhost",
        "RABBITMQ_PID_FILE": str(here / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")
