"""Parse REDIS_URL: one server, a Redis Cluster, or Sentinels."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from app.errors import ConfigurationError

Kind = Literal["single", "cluster", "sentinel"]
Host = tuple[str, int]

DEFAULT_PORTS: dict[Kind, int] = {"single": 6379, "cluster": 6379, "sentinel": 26379}
FORMS = (
    "redis://host:6379/0, rediss:// with TLS, redis+cluster://host1:6379,host2:6379, "
    "redis+sentinel://host1:26379,host2:26379/service"
)
_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A parsed REDIS_URL. `hosts` are the server, some servers of the cluster, or the Sentinels of `service`."""

    kind: Kind
    hosts: tuple[Host, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: ssl.SSLContext | None = None
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse_redis_url(url: str) -> RedisAddress:
    """Raises ConfigurationError with the problem, never with the password."""
    from redis.exceptions import RedisError  # importing redis-py takes 70 ms, wasted without Redis

    try:
        return _parse(url)
    except (ValueError, TypeError, RedisError, OSError) as error:
        raise ConfigurationError(f"REDIS_URL cannot be read: {error}; forms are {FORMS}") from None


def _parse(url: str) -> RedisAddress:
    from redis.asyncio.connection import parse_url

    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError("it has no scheme")
    base, _, suffix = scheme.partition("+")
    kinds: dict[str, Kind] = {"": "single", "cluster": "cluster", "sentinel": "sentinel"}
    if base not in ("redis", "rediss") or suffix not in kinds:
        raise ValueError(f"unknown scheme {scheme!r}")
    kind = kinds[suffix]
    authority, _, path_text = rest.partition("?")[0].partition("/")
    if "#" in rest or "@" in path_text:
        raise ValueError("in user and password / ? # have to be written as %2F %3F %23")
    hosts = _hosts(authority.rpartition("@")[2], DEFAULT_PORTS[kind])
    if kind == "single" and len(hosts) > 1:
        raise ValueError("several hosts need redis+cluster:// or redis+sentinel://")
    # redis-py parses a URL with the first host only, so that user, password, TLS and options keep their usual meaning.
    first = authority.rpartition("@")[2].partition(",")[0]
    options: dict[str, Any] = dict(parse_url(f"{base}://{rest.replace(authority, _userinfo(authority) + first, 1)}"))
    path = [part for part in path_text.split("/") if part]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise ValueError("the name of the service is missing")
    db = _number(path[0], "database") if path else int(options.get("db", 0))
    if kind == "cluster" and db:
        raise ValueError("a cluster has only database 0")
    return RedisAddress(
        kind=kind,
        hosts=hosts,
        username=options.get("username"),
        password=options.get("password"),
        db=db,
        tls=_tls(options) if base == "rediss" else None,
        service=service,
        **_own_options(options),
    )


def _userinfo(authority: str) -> str:
    userinfo, at, _ = authority.rpartition("@")
    return userinfo + at


def _hosts(text: str, default_port: int) -> tuple[Host, ...]:
    hosts = []
    for part in text.split(","):
        name, port = urlsplit(f"//{part}").hostname, _port(part)
        if not name:
            raise ValueError("a host is missing")
        name.encode("idna")  # raises what connecting would
        hosts.append((name, default_port if port is None else port))
    return tuple(hosts)


def _port(host: str) -> int | None:
    try:
        return urlsplit(f"//{host}").port
    except ValueError:  # the original text may quote a part of the password
        raise ValueError("a port is not a number from 0 to 65535") from None


def _number(text: str, what: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"the {what} is not a number")
    return int(text)


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    from redis.asyncio.connection import SSLConnection

    wanted = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if "ssl_check_hostname" in wanted:
        wanted["ssl_check_hostname"] = str(wanted["ssl_check_hostname"]).lower() in ("true", "1", "yes")
    return SSLConnection(**wanted).ssl_context.get()


def _own_options(options: dict[str, Any]) -> dict[str, Any]:
    known = {"username", "password", "host", "port", "db", "connection_class"} | _OPTIONS
    for name in options:
        if name not in known and not name.startswith("ssl_"):
            raise ValueError(f"unknown option {name!r}; known are {', '.join(sorted(_OPTIONS))}, db and ssl_*")
    return {name: options[name] for name in _OPTIONS & options.keys()}
