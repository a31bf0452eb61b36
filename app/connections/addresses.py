"""Parse and format client addresses, and group them for limits."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

UNKNOWN = ""
"""The key of clients without an address, such as those on a Unix socket."""

IPV6_PREFIX = 64  # the smallest network that a provider gives to one customer (RFC 6177)


def limit_key(host: str | None) -> str:
    """Return the key under which limits count this address: the address, or its /64 network for IPv6."""
    if not host:
        return UNKNOWN
    return host if ":" not in host else _ipv6_key(host)


@lru_cache(maxsize=4096)
def _ipv6_key(host: str) -> str:
    address = parse_host(host)
    if not isinstance(address, IPv6Address):
        return host if address is None else str(address)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))


def parse_host(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an address without a port; an IPv4 address in IPv6 form becomes plain IPv4. None: not an address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def split_port(text: str) -> tuple[str, int]:
    """Split `192.0.2.1:80`, `[2001:db8::1]:80` or an address without a port, which gets the port 0."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    return host, int(port) if port.isdecimal() and len(port) <= 5 else 0


def format_client(client: tuple[str, int] | None) -> str | None:
    """Return the address for logs and the API, with its port if that is known."""
    if client is None:
        return None
    host, port = client
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port}" if port else bracketed


def host_of(remote: str | None) -> str | None:
    """Return the host of an address that `format_client` has formatted."""
    if remote is None:
        return None
    if remote.startswith("["):
        return remote[1 : remote.index("]")]
    return remote.partition(":")[0]
