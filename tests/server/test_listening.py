"""What the service listens on: both families, several hosts, a Unix socket; and what it says if it cannot."""

import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.server.listening import open_listeners
from tests.abuse.raw import undated
from tests.frames import HANDSHAKE
from tests.service import Server, running_server
from tests.valkey import running_valkey

HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HAS_IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()


def addresses(listeners: list[socket.socket]) -> list[tuple[str, bool]]:
    """Hosts, and whether all have the port of the first."""
    return [(one.getsockname()[0], one.getsockname()[1] == listeners[0].getsockname()[1]) for one in listeners]


def greets(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    """Whether a connection to that address is accepted by one of the listeners of this test."""
    with socket.socket(family) as client:
        client.settimeout(5)
        return client.connect_ex(address) == 0


@pytest.mark.parametrize("host", ["*", "::"])
def test_all_addresses_are_those_of_both_families(host: str) -> None:
    with open_listeners([host], 0, None) as listeners:
        port = listeners[0].getsockname()[1]
        assert addresses(listeners) == [("0.0.0.0", True), ("::", True)][: 1 + HAS_IPV6]
        assert greets(socket.AF_INET, ("127.0.0.1", port))
        assert greets(socket.AF_INET6, ("::1", port)) == HAS_IPV6


def test_several_hosts_share_a_port() -> None:
    with open_listeners(["127.0.0.2", "127.0.0.3"], 0, None) as listeners:
        assert addresses(listeners) == [("127.0.0.2", True), ("127.0.0.3", True)]
        assert not greets(socket.AF_INET, ("127.0.0.1", listeners[0].getsockname()[1]))


def test_name_stands_for_its_addresses() -> None:
    with open_listeners(["localhost"], 0, None) as listeners:
        assert ("127.0.0.1", True) in addresses(listeners)
        assert {host for host, _ in addresses(listeners)} <= {"127.0.0.1", "::1"}


def test_address_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for hosts, problem in [
            (["127.0.0.1"], f"HOST and PORT: cannot listen on 127.0.0.1:{port}: Address already in use"),
            (["198.51.100.1"], "HOST and PORT: cannot listen on 198.51.100.1:"),
            (["no.such.invalid"], "HOST: 'no.such.invalid' is neither an address, a name of this machine, nor *"),
            (["127.0.0.2", "127.0.0.1"], "HOST and PORT: cannot listen on 127.0.0.1:"),
        ]:
            with pytest.raises(ConfigurationError, match=re.escape(problem)), open_listeners(hosts, port, None):
                pass
    assert not greets(socket.AF_INET, ("127.0.0.2", port))  # nothing is left open


# The Unix socket


def test_unix_socket_is_open_to_all_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    with open_listeners([], 0, str(path)) as listeners:
        assert len(listeners) == 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert greets(socket.AF_UNIX, str(path))
    assert not path.exists()


def test_unix_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    with open_listeners([], 0, str(path)):
        assert greets(socket.AF_UNIX, str(path))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("file", "is not a Unix socket; a free path or that of a Unix socket was expected"),
        ("live", "another process listens on"),
        ("datagram", "exists and cannot be checked: Protocol wrong type for socket"),
        ("no/such/folder", "No such file or directory"),
        ("x" * 200, "AF_UNIX path too long"),
    ],
)
def test_unix_socket_that_cannot_be_had_is_named(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.bind(str(tmp_path / "datagram"))
        live.bind(str(tmp_path / "live"))
        live.listen()

        with pytest.raises(ConfigurationError, match=f"UDS: .*{problem}"), open_listeners([], 0, str(tmp_path / name)):
            pass
    assert (tmp_path / "file").read_text() == "precious"


# The service itself


@contextmanager
def on_unix_socket(path: Path, **env: str) -> Iterator[Server]:
    with running_server(UDS=str(path), HOST="127.0.0.1", **env) as server:
        yield server


def curl(path: Path, url: str) -> str:
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--unix-socket", str(path), f"http://x{url}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def over_unix(path: Path, request: bytes, end: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(request)
        data = b""
        while end not in data and (more := client.recv(65_536)):
            data += more
        return undated(data)


@pytest.mark.parametrize("transport", ["picows", "asgi"])
def test_service_answers_on_a_unix_socket(transport: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with on_unix_socket(path, WS_TRANSPORT=transport, TRUSTED_PROXIES="unix", MAX_CONNECTIONS_PER_ADDRESS="1"):
        assert '"status":"ok"' in curl(path, "/healthz")
        assert '"websocket":true' in curl(path, "/stomp-ws/info")
        claim = HANDSHAKE.replace(b"\r\nHost", b"\r\nX-Forwarded-For: 192.0.2.1\r\nHost")
        heads = []
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(claim)
            heads.append(client.recv(65_536)[:12])
            heads += [over_unix(path, request, b"\r\n\r\n")[:12] for request in (claim, HANDSHAKE)]
        assert heads == [b"HTTP/1.1 101", b"HTTP/1.1 503", b"HTTP/1.1 101"]


def test_workers_share_several_hosts_and_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        running_valkey() as valkey,
        running_server(UDS=str(path), HOST="127.0.0.1,127.0.0.2", WORKERS="2", REDIS_URL=valkey.url) as server,
    ):
        assert '"status":"ok"' in curl(path, "/healthz")
        for host in ("127.0.0.1", "127.0.0.2"):
            with socket.create_connection((host, server.port), timeout=20) as client:
                client.sendall(HEALTHZ)
                assert client.recv(12) == b"HTTP/1.1 200"
    assert not path.exists()
