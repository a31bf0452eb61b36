"""The servers that are measured, each a process of its own on the server's core."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.machine import SERVER_CORE, pin
from tests.service import Server, running_server

SERVICE = ("-m", "app")
WATCHED = ("-m", "bench.programs.watched")
EMPTY = ("-m", "bench.programs.empty")
SETTINGS = {"LOG_ACK_EVENTS": "false", "WS_TRANSPORT": "picows"}


@contextmanager
def pinned_server(program: Sequence[str] = SERVICE, **env: str) -> Iterator[Server]:
    """In development mode, without a log line for each message, as in production. `env` are further settings."""
    with running_server(program, **SETTINGS | env) as server:
        pin(server.process.pid, SERVER_CORE)
        yield server
