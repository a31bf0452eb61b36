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
PEER_TIMEOUT_MS = 30_000  # unacknowledged data for so long: the peer is gone, or keeps its window shut
ALL_ADDRESSES = ("*", "::")  # of both families, as Linux has it for `::`
UNIX_MODE = 0o666  # as open as a port of the loopback; the folder can be less so
MISSING_FAMILY = (EADDRNOTAVAIL, EAFNOSUPPORT)

Address = tuple[socket.AddressFamily, str]

logger = logging.getLogger(__name__)


@contextmanager
def open_listeners(hosts: Sequence[str], port: int, uds: str | None) -> Iterator[list[socket.socket]]:
    """Listen on every host, and on the Unix socket if it is given. Raises ConfigurationError.

    Port 0 takes a free one, the same for all hosts.
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
    """A machine without IPv6 has no such addresses: they are left out where others stand beside them."""
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
    # Connections inherit both. Without the first a short answer in two writes waits for an acknowledgement of 40 ms
    # (asyncio sets it for sockets of its own making alone).
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
        raise ConfigurationError(f"UDS: {path} is a file of another kind; the path of a Unix socket was expected")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            _unlink(path)
        except OSError as error:
            raise ConfigurationError(
                f"UDS: another process has {path}, which cannot be used: {error.strerror}"
            ) from None
        else:
            raise ConfigurationError(f"UDS: another process listens on {path}")


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it.

    Every connection is an open file; the usual soft limit of 1,024 is no limit that anybody chose.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
