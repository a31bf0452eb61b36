"""Trusted proxies, and the clients that they report in X-Forwarded-* and Forwarded (RFC 7239)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from app.connections.addresses import parse_host, split_port
from app.errors import ConfigurationError

UNIX = "unix"
MAX_PREFIX_LENGTH = 256
CACHED_HOSTS = 4096
LONGEST_HOST = 64  # an address with its zone; longer strings are not cached
UNKNOWN_HOST = "unknown"

Headers = Iterable[tuple[bytes, bytes]]
Client = tuple[str, int]

# Headers can be as long as a whole head, so each pattern must take linear time.
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*(?:(")|\\?\Z)""")  # group 1: the quote is closed
_PAIR = re.compile(r"""([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)""")  # for `fullmatch` alone
_PREFIX = re.compile(r"(?:/[\w.~%-]+)+/?", re.ASCII)


class TrustedProxies:
    """Addresses and networks of proxies. `unix` stands for peers on a Unix socket."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Raises ConfigurationError for an entry that is not an address or a network."""
        self._unix = UNIX in entries
        self._networks = [_parse_network(entry) for entry in entries if entry != UNIX]
        self._trusts = lru_cache(maxsize=CACHED_HOSTS)(self._contains)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, host: str | None) -> bool:
        if not host:
            return self._unix
        return len(host) <= LONGEST_HOST and self._trusts(host)

    def _contains(self, host: str) -> bool:
        address = parse_host(host)
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, forwarded_for: Sequence[str], forwarded: Sequence[str]) -> Client | None:
        """Return the client that trusted proxies report in either header. None: unknown.

        A proxy sets one of the headers, and may pass on the other as the client sent it. So if both are present and
        disagree, neither is trusted.
        """
        nearest = (self._nearest(_hops(forwarded_for)), self._nearest(_forwarded_hops(forwarded)))
        reports = [client for client in nearest if client is not None]
        if len({host for host, _ in reports}) != 1:
            return None
        host, port = reports[0]
        address = parse_host(host)
        return None if address is None else (str(address), port)

    def _nearest(self, hops: Iterable[str]) -> Client | None:
        """Return the first of `hops` that is not a trusted proxy, or the last one. Later hops are not reliable."""
        client = None
        for hop in hops:
            client = split_port(hop)
            if not self.trusts(client[0]):
                break
        return client


def _parse_network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise ConfigurationError(
            f"TRUSTED_PROXIES: {entry!r} was found; an address, a network such as 10.0.0.0/8, or {UNIX} was expected"
            f" ({error})"
        ) from None


def _hops(values: Sequence[str]) -> Iterator[str]:
    """Return the hops of X-Forwarded-For, the one next to this node first."""
    for value in reversed(values):
        yield from (hop for part in reversed(value.split(",")) if (hop := part.strip()))


def _forwarded_hops(values: Sequence[str]) -> Iterator[str]:
    """Return the `for` of each element of Forwarded, the one next to this node first."""
    for value in reversed(values):
        yield from (_for_of(element) for element in reversed(_split_unquoted(value, ",")) if element.strip())


def _for_of(element: str) -> str:
    """Return the `for` of an element. One without it, or one that is invalid, is unknown: quotes may hide another."""
    host = UNKNOWN_HOST
    for part in _split_unquoted(element, ";"):
        if not (text := part.strip()):
            continue
        pair = _PAIR.fullmatch(text)
        if pair is None:
            return UNKNOWN_HOST
        if pair[1].lower() == "for":
            host = re.sub(r"\\(.)", r"\1", pair[2][1:-1]) if pair[2].startswith('"') else pair[2]
    return host


def _split_unquoted(text: str, separator: str) -> list[str]:
    """Split at separators outside of quotes. An unclosed quote does not count."""
    parts, start = [], 0
    for masked in _QUOTED.sub(_mask, text).split(separator):
        parts.append(text[start : start + len(masked)])
        start += len(masked) + len(separator)
    return parts


def _mask(quoted: re.Match[str]) -> str:
    return quoted[0] if quoted[1] is None else "_" * len(quoted[0])


def parse_prefix(text: str) -> str | None:
    """Return a path prefix without trailing slash. None: it is invalid, or could lead to another host."""
    if len(text) > MAX_PREFIX_LENGTH or not _PREFIX.fullmatch(text):
        return None
    return text.rstrip("/")
