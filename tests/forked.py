"""Processes of the service, forked from one that has imported everything.

A start of Python with the service takes 0.8 s of CPU, nearly all of it imports, and the tests start hundreds. So each
process of the test run keeps one template (this file, run as a program) that imports the service once. For every
server it forks a child, which takes over the environment, directory and arguments it is given and runs the command
line as `python -m app` would.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_REQUEST_BYTES = 1 << 20
_LIBRARIES = ("alembic.command", "alembic.runtime.migration", "sqlalchemy.dialects.sqlite.aiosqlite")  # imported late

_one_at_a_time = threading.Lock()  # tests start several servers at once, in threads


class ForkedProcess:
    """The part of `subprocess.Popen` that tests of the service use."""

    def __init__(self, arguments: Sequence[str], *, cwd: str, env: Mapping[str, str], output: int) -> None:
        """Start `stomp-notify ARGUMENTS`; `output` is the file descriptor of its standard output and error."""
        self.returncode: int | None = None
        self._status, theirs = os.pipe()
        try:
            with _one_at_a_time:
                self.pid = _template().fork({"arguments": [*arguments], "cwd": cwd, "env": {**env}}, output, theirs)
        finally:
            os.close(theirs)

    def poll(self) -> int | None:
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, negative for a signal. Raises subprocess.TimeoutExpired."""
        status = self._read(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("stomp-notify", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 16))
            os.close(self._status)
        return self.returncode


class _Template:
    """The process that forks, seen from the test run. It ends when the test run does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=env | {"PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
            )

    def fork(self, request: Mapping[str, object], *descriptors: int) -> int:
        """Return the process id of the child."""
        socket.send_fds(self._control, [json.dumps(request).encode()], [*descriptors])
        return int(self._control.recv(16))


@cache
def _template() -> _Template:
    return _Template()


# The rest runs in the template.


class _Forker:
    """Forks on request, and tells by the pipe that came with the request how the child ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pipes: dict[int, int] = {}
        self._woken, wake_up = os.pipe()
        for end in (self._woken, wake_up):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)

    def next_child(self) -> list[str]:
        """Return the arguments of the command line, in each child. The template itself exits here."""
        while True:
            readable, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in readable:
                os.read(self._woken, 4096)
                self._report_ends()
            if self._control.fileno() in readable:
                data, descriptors, _, _ = socket.recv_fds(self._control, MAX_REQUEST_BYTES, 2)
                if not data:
                    os._exit(0)
                request = json.loads(data)
                if (pid := os.fork()) == 0:
                    _become(request, *descriptors)
                    return ["stomp-notify", *request["arguments"]]
                os.close(descriptors[0])
                self._pipes[pid] = descriptors[1]
                self._control.send(str(pid).encode())

    def _report_ends(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (end := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = end
                pipe = self._pipes.pop(pid)
                with contextlib.suppress(BrokenPipeError):  # the test did not wait for it
                    os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(pipe)


def _become(request: dict[str, object], output: int, _: int) -> None:
    """Take over what a new process gets from its parent, and close what belongs to the template."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 1 << 16)
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    time.tzset()
    os.chdir(str(request["cwd"]))


def _import_service() -> None:
    import importlib
    import pkgutil

    import app

    names = [found.name for found in pkgutil.walk_packages(app.__path__, "app.")]
    for name in [*names, *_LIBRARIES]:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _run() -> None:
    sys.path.remove(str(Path(__file__).parent))
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_service()
    from app.cli.commands import main

    sys.argv = _Forker(control).next_child()
    main()


if __name__ == "__main__":
    _run()
