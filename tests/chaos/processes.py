"""Child processes on reserved ports of the loopback: start, kill, freeze and thaw by pid."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.03


class Port:
    """A port that stays reserved while its server is down.

    A bound socket that does not listen keeps Linux from giving the port to an outgoing connection, and lets a server
    with SO_REUSEADDR listen there.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


class Process:
    """A command that can be started again after its end. Its output is appended to `log`.

    Signals go to the process and to its children: Valkey and PostgreSQL fork.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.log = directory / f"{name}.log"
        self._command = command
        self._env = env
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, env=self._env, user=self._user, stdout=log, stderr=log
            )

    async def until(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the process serves. Raises RuntimeError with the end of its log if it ends or takes too long."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not await is_ready():
            if not self.is_running or time.monotonic() > deadline_s:
                raise RuntimeError(f"{self.name} did not start:\n{self.log_text()[-3000:]}")
            await asyncio.sleep(POLL_S)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # Faults

    def freeze(self) -> None:
        """Stop the process: the kernel goes on accepting connections and bytes for it, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End the process as a crash does, and wait for its end."""
        self._signal(signal.SIGKILL)
        await self.ended()

    async def terminate(self) -> int:
        """End the process with SIGTERM. Return its exit status; a process that hangs is killed."""
        self.thaw()
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        assert self._process is not None
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline_s:
                self._signal(signal.SIGKILL)
            await asyncio.sleep(POLL_S)
        return status

    def close(self) -> None:
        """Kill what is left, from any state."""
        if self.is_running:
            self._signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait(timeout=STOP_TIMEOUT_S)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the parent first, so that it makes no more children. A pid is not reused before `poll` reaps it."""
        if not self.is_running:
            return
        os.kill(self.pid, number)
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            for child in children.split():
                with suppress(ProcessLookupError):
                    os.kill(int(child), number)
