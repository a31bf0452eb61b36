"""Proxies that may say on whose behalf they speak, and what they say (X-Forwarded-*, and Forwarded of RFC 7239)."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from app.connections.addresses import parse_host, split_port
from app.errors import ConfigurationError

UNIX = "unix"
MAX_PREFIX_LENGTH = 256
CACHED_HOSTS = 4096

Headers = Iterable[tuple[bytes, bytes]]
Client = tuple[str, int]

_PAIR = re.compile(r"""([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)""")
_ELEMENT = re.compile(r"""(?:[^,"]|"(?:[^"\\]|\\.)*")+""")
_PREFIX = re.compile(r"(?:/[\w.~%-]+)+/?", re.ASCII)


class TrustedProxies:
    """Addresses and networks of proxies. `unix` stands for the other ends of a Unix socket."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Raises ConfigurationError for an entry that is not an address or a network."""
        self._unix = UNIX in entries
        self._networks = [_parse_network(entry) for entry in entries if entry != UNIX]
        self._trusts = lru_cache(maxsize=CACHED_HOSTS)(self._contains)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, host: str | None) -> bool:
        return self._trusts(host) if host else self._unix

    def _contains(self, host: str) -> bool:
        address = parse_host(host)
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, forwarded_for: Sequence[str], forwarded: Sequence[str]) -> Client | None:
        """Return the client that trusted proxies report, from the values of both headers. None: it is not known.

        A proxy sets one of the headers and may pass on the other as the client sent it. So if they disagree, neither
        is believed.
        """
        reports = [self._nearest(hops) for hops in (_split(forwarded_for), _split_forwarded(forwarded)) if hops]
        if len({host for host, _ in reports}) != 1:
            return None
        host, port = reports[0]
        address = parse_host(host)
        return None if address is None else (str(address), port)

    def _nearest(self, hops: Sequence[str]) -> Client:
        """Return the last hop that is not a proxy of ours: what stands before it is only what that client claims."""
        clients = [split_port(hop) for hop in hops]
        return next((client for client in reversed(clients) if not self.trusts(client[0])), clients[0])


def _parse_network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise ConfigurationError(
            f"TRUSTED_PROXIES: {entry!r} was found; an address, a network such as 10.0.0.0/8, or {UNIX} was expected"
            f" ({error})"
        ) from None


def _split(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _split_forwarded(values: Sequence[str]) -> list[str]:
    """Return the `for` of each element; an element without one counts as unknown."""
    return [_for_of(element) for value in values for element in _ELEMENT.findall(value) if element.strip()]


def _for_of(element: str) -> str:
    for name, value in _PAIR.findall(element):
        if name.lower() == "for":
            return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else str(value)
    return "unknown"


def parse_prefix(text: str) -> str | None:
    """Return a path prefix without its last slash. None: it is not one, or it could lead to another host."""
    if len(text) > MAX_PREFIX_LENGTH or not _PREFIX.fullmatch(text):
        return None
    return text.rstrip("/")
