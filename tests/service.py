"""The service as its users run it: a process of its own, on a free port of the loopback."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from tests.forked import ForkedProcess

_LISTENING = re.compile(r"(?:listening|running) on http://127\.0\.0\.1:(\d+)")
START_TIMEOUT_S = 60
SERVICE = ("-m", "app")


class Server:
    """The service in a process of its own, in a directory of its own that holds `files`, by name.

    `env` are the settings; the environment and the .env of the test run do not count. The service itself is forked from
    a template; any other `program`, and the service with a preloaded library, is run by a new process of Python.
    """

    def __init__(
        self,
        env: dict[str, str] | None = None,
        program: Sequence[str] = SERVICE,
        arguments: Sequence[str] = ("serve",),
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="stomp-notify-")
        self._log = Path(self._directory.name) / "log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._env = inherited | {"PYTHONPATH": str(Path(__file__).parent.parent)} | (env or {})
        self._program, self._arguments = program, arguments
        for name, text in (files or {}).items():
            (Path(self._directory.name) / name).write_text(text)
        self.port = 0
        self.start()

    def start(self) -> None:
        """Again after `stop`: in the same directory, with the same database, on the same port."""
        with self._log.open("ab") as log:
            self.process = self._start(log)

    def _start(self, log: BinaryIO) -> ForkedProcess | subprocess.Popen[bytes]:
        cwd, env = self._directory.name, {"PORT": str(self.port)} | self._env
        if self._program == SERVICE and "LD_PRELOAD" not in env:
            return ForkedProcess(self._arguments, cwd=cwd, env=env, output=log.fileno())
        command = [sys.executable, *self._program, *self._arguments]
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=subprocess.STDOUT)

    def wait_until_ready(self, path: str = "/readyz") -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            if found := _LISTENING.search(self.log()):
                self.port = int(found[1])
                try:
                    if httpx.get(f"{self.url}{path}").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
            time.sleep(0.05)
        raise RuntimeError(f"the server was not ready in time:\n{self.log()}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/stomp-ws"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status, negative for a signal. With SIGKILL nothing of the process gets a last word."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self._directory.cleanup()


def running_server(program: Sequence[str] = SERVICE, **env: str) -> AbstractContextManager[Server]:
    """Run the service with these settings."""
    return running(Server(env, program))


@contextmanager
def running(server: Server, ready_path: str = "/readyz") -> Iterator[Server]:
    """Wait until the server answers, and stop it in the end. Fails if it logged an unhandled exception."""
    try:
        server.wait_until_ready(ready_path)
        yield server
        log = server.log()
    finally:
        server.close()
    assert "Traceback" not in log, log
