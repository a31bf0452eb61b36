"""What holds for all tests."""

import gc
import sys
from pathlib import Path

import pytest

WITH_PROCESSES = ("abuse", "bench", "chaos", "deploy", "e2e", "harness", "interop", "memory")  # folders of tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="skip each test that starts a process or a server")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):  # a test that is skipped half-way leaves its sockets to the garbage collector
        config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    ignored = config.getoption("--fast") and collection_path.parent == Path(__file__).parent
    return True if ignored and collection_path.name in WITH_PROCESSES else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from visiting a million objects that live to the end."""
    gc.collect()
    gc.freeze()
    if session.config.getoption("--fast"):
        sys.addaudithook(_skip_servers)


def _skip_servers(event: str, _: tuple[object, ...]) -> None:
    if event in ("subprocess.Popen", "socket.bind"):
        pytest.skip("it starts a process or a server, which --fast does not")
