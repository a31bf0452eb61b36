"""The sockets that the service listens on: TCP addresses of both families, and a Unix socket."""

import logging
import os
import resource
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from pathlib import Path

from app.errors import ConfigurationError

BACKLOG = 2048
PEER_TIMEOUT_MS = 30_000  # TCP_USER_TIMEOUT: a peer that acknowledges no data for this long is disconnected
ALL_ADDRESSES = ("*", "::")  # both stand for IPv4 and IPv6; `::` does so on Linux by default
UNIX_MODE = 0o666  # like a port on the loopback address; permissions of the folder can restrict it
MISSING_FAMILY = (EADDRNOTAVAIL, EAFNOSUPPORT)

Address = tuple[socket.AddressFamily, str]

logger = logging.getLogger(__name__)


@contextmanager
def open_listeners(hosts: Sequence[str], port: int, uds: str | None) -> Iterator[list[socket.socket]]:
    """Listen on every host, and on the Unix socket if it is given. Raises ConfigurationError.

    Port 0 takes a free port, the same one for all hosts.
    """
    with ExitStack() as stack:
        listeners: list[socket.socket] = []
        for host in hosts:
            for listener in _listen_on_host(host, port):
                listeners.append(stack.enter_context(listener))
                port = listener.getsockname()[1]
        for listener in listeners:
            logger.info("listening on http://%s, documentation at /docs", _authority(listener))
        if uds is not None:
            listeners.append(stack.enter_context(_listen_on_unix(uds)))
            stack.callback(_unlink, uds)
            logger.info("listening on unix:%s", uds)
        yield listeners


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen_on_host(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host. Skip those of a missing family, such as IPv6, if another address works.

    Raises ConfigurationError.
    """
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _addresses(host):
        try:
            listeners.append(_listen(family, address, port))
        except OSError as error:
            failure = failure or error
            if error.errno not in MISSING_FAMILY:
                break
        else:
            port = listeners[-1].getsockname()[1]
    if failure is not None and (not listeners or failure.errno not in MISSING_FAMILY):
        for listener in listeners:
            listener.close()
        raise ConfigurationError(f"HOST and PORT: cannot listen on {host}:{port}: {failure.strerror}")
    return listeners


def _addresses(host: str) -> Iterable[Address]:
    if host in ALL_ADDRESSES:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"HOST: {host!r} is neither an address, a name of this machine, nor *: {error}"
        ) from None
    return dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.create_server((address, port), family=family, backlog=BACKLOG)
    # Connections inherit both options. Without TCP_NODELAY, which asyncio sets only on sockets that it creates itself,
    # a short response in two writes waits up to 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
    return listener


def _listen_on_unix(path: str) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        Path(path).chmod(UNIX_MODE)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"UDS: cannot listen on {path}: {error.strerror or error}") from None
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a process left behind when it was killed. Raises ConfigurationError for anything else."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"UDS: {path} is not a Unix socket; a free path or that of a Unix socket was expected")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            _unlink(path)
        except OSError as error:
            raise ConfigurationError(f"UDS: {path} exists and cannot be checked: {error.strerror}") from None
        else:
            raise ConfigurationError(f"UDS: another process listens on {path}")


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it.

    Every connection is an open file, and the usual soft limit of 1,024 is a default too low for a server.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
