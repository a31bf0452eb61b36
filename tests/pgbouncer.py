"""A real PgBouncer (Debian's) in front of a PostgreSQL of the tests, with few connections to it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.tools import find_program
from tests.postgres import UNPRIVILEGED, Postgres, free_port

START_TIMEOUT_S = 20


class PgBouncer:
    """`options` are settings of PgBouncer. `start` begins its life, `close` ends it."""

    def __init__(self, postgres: Postgres, **options: str) -> None:
        self._program = find_program("pgbouncer", "/usr/sbin/pgbouncer")
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._directory = tempfile.mkdtemp(prefix="pgbouncer-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "admin_users": "pgbouncer",
            "pool_mode": "transaction",
            "default_pool_size": "2",
            "max_client_conn": "500",
        } | options
        lines = ["[databases]", f"* = host=127.0.0.1 port={postgres.port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        Path(self._directory, "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        if self._user:
            shutil.chown(self._directory, self._user)

    def url(self, database: str, **options: str) -> str:
        """For DATABASE_URL."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}?{query}"

    def start(self) -> None:
        """Returns once it listens."""
        with Path(self._directory, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "pgbouncer.ini"], cwd=self._directory, user=self._user, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """At once: all connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=30)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def log(self) -> str:
        return Path(self._directory, "log").read_text()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def running_pgbouncer(postgres: Postgres, **options: str) -> Iterator[PgBouncer]:
    pgbouncer = PgBouncer(postgres, **options)
    try:
        pgbouncer.start()
        yield pgbouncer
    finally:
        pgbouncer.close()
