"""The options of a PostgreSQL URL: libpq's names, translated to arguments of asyncpg or refused."""

import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from app.errors import ConfigurationError

# asyncpg reads these from a DSN; what it does not know there it sends to the server as a setting.
READ_BY_ASYNCPG = frozenset({
    "application_name", "krbsrvname", "gsslib", "options", "passfile", "service", "sslcert", "sslcrl", "sslkey",
    "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "target_session_attrs",
})  # fmt: skip
TLS_VERSIONS = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})
VALUES: Mapping[str, frozenset[str]] = {
    "gsslib": frozenset({"gssapi", "sspi"}),
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "ssl_max_protocol_version": TLS_VERSIONS,
    "ssl_min_protocol_version": TLS_VERSIONS,
    "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
}
# Values that ask for nothing but what asyncpg does anyway.
WITHOUT_EFFECT: Mapping[str, frozenset[str]] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"utf8", "UTF8", "utf-8", "UTF-8", "unicode", "UNICODE"}),
    "gssdelegation": frozenset({"0"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "load_balance_hosts": frozenset({"disable"}),
    "max_protocol_version": frozenset({"3.0", "3.2", "latest"}),
    "min_protocol_version": frozenset({"3.0"}),
    "replication": frozenset({"false", "off", "no", "0"}),
    "sslcertmode": frozenset({"allow"}),
    "sslcompression": frozenset({"0", "1"}),  # no server since PostgreSQL 14 compresses
    "sslsni": frozenset({"1"}),
}
ADVICE: Mapping[str, str] = {
    "channel_binding": "leave it out: asyncpg has no channel binding; sslmode=verify-full checks the server as well",
    "client_encoding": "the encoding is always UTF8",
    "gssencmode": "asyncpg does not encrypt with GSSAPI; use sslmode",
    "hostaddr": "give the address in place of the host",
    "load_balance_hosts": "hosts are tried in their order",
    "min_protocol_version": "asyncpg speaks version 3.0",
    "replication": "the service needs ordinary connections",
    "require_auth": "asyncpg cannot restrict how the server asks for a password; use sslmode=verify-full",
    "servicefile": "set the environment variable PGSERVICEFILE",
    "sslcertmode": "a client certificate is sent if sslcert names one",
    "sslcrldir": "use sslcrl",
    "sslkeylogfile": "set the environment variable SSLKEYLOGFILE",
}
KEEPALIVES: Mapping[str, str] = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
CACHE_SIZES = ("prepared_statement_cache_size", "statement_cache_size")  # SQLAlchemy's and asyncpg's own
# Without a cache asyncpg names no statement and sends each anew: the next transaction may be on another connection.
UNNAMED_STATEMENTS: Mapping[str, Any] = {"statement_cache_size": 0}


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """`arguments` are for asyncpg.connect as SQLAlchemy calls it, `socket_options` for `setsockopt`."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    socket_options: Sequence[tuple[int, int, int]] = ()


def translate_options(given: Mapping[str, str]) -> ConnectOptions:
    """Translate all options of a URL but host, port, user, password and dbname.

    An empty value stands for the default of its option, as in libpq. Raises ConfigurationError with the name of the
    first option that is unknown, has an invalid value, or asks for something that asyncpg cannot do.
    """
    options = {name: value for name, value in given.items() if value}
    _rename(options)
    arguments: dict[str, Any] = {}
    if "connect_timeout" in options and (seconds := _integer(options, "connect_timeout")) > 0:
        arguments["timeout"] = float(seconds)
    arguments |= {name: _integer(options, name) for name in CACHE_SIZES if name in options}
    if _boolean(options, "pgbouncer"):
        arguments |= UNNAMED_STATEMENTS
    if options.get("sslrootcert") == "system":
        arguments["ssl"] = _system_certificates(options)
    socket_options = _socket_options(options)
    dsn = {name: _checked(name, options.pop(name)) for name in sorted(READ_BY_ASYNCPG & options.keys())}
    for name, value in options.items():
        _refuse_unless_without_effect(name, value)
    _check_tls(dsn, system="ssl" in arguments)
    if dsn:
        arguments["dsn"] = f"postgresql://?{urlencode(dsn, quote_via=quote)}"
    return ConnectOptions(arguments, socket_options)


def _rename(options: dict[str, str]) -> None:
    if tls := options.pop("ssl", None):  # libpq knows ssl=true, SQLAlchemy's users write ssl=require
        options.setdefault("sslmode", "require" if tls == "true" else tls)
    if name := options.pop("fallback_application_name", None):
        options.setdefault("application_name", name)
    if options.get("client_encoding") == "auto":  # of the locale, which plays no part here
        del options["client_encoding"]


def _checked(name: str, value: str) -> str:
    if name in VALUES and value not in VALUES[name]:
        raise _error(f"{name}={value} is invalid, expected one of {', '.join(sorted(VALUES[name]))}")
    return value


def _integer(options: dict[str, str], name: str) -> int:
    value = options.pop(name)
    try:
        return int(value)
    except ValueError:
        raise _error(f"{name}={value} is invalid, expected a whole number") from None


def _boolean(options: dict[str, str], name: str) -> bool:
    value = options.pop(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise _error(f"{name}={value} is invalid, expected true or false")
    return value in ("true", "1")


def _socket_options(options: dict[str, str]) -> Sequence[tuple[int, int, int]]:
    """Like libpq, pass over what the platform does not have, and 0, which stands for the platform's default."""
    given = {name: _integer(options, name) for name in ("keepalives", *KEEPALIVES) if name in options}
    enabled = given.pop("keepalives", 1 if given else 0)
    user_timeout = [("tcp_user_timeout", given.pop("tcp_user_timeout", 0))]
    values = [*given.items(), *user_timeout] if enabled else user_timeout
    chosen = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] if enabled else []
    for name, value in values:
        number = getattr(socket, KEEPALIVES[name], None)
        if number is not None and value > 0:
            chosen.append((socket.IPPROTO_TCP, number, value))
    return tuple(chosen)


def _system_certificates(options: dict[str, str]) -> bool:
    """Like libpq, insist on the server's name: anyone can have a certificate of a public authority."""
    del options["sslrootcert"]
    if options.setdefault("sslmode", "verify-full") != "verify-full":
        raise _error("sslrootcert=system needs sslmode=verify-full")
    for name in ("sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version"):
        if name in options:
            raise _error(f"sslrootcert=system cannot be combined with {name}; name a file in place of system")
    return True


def _refuse_unless_without_effect(name: str, value: str) -> None:
    """The value may be a secret, unless the option is known to take none."""
    if value not in WITHOUT_EFFECT.get(name, ()):
        option = f"{name}={value}" if name in WITHOUT_EFFECT else name
        raise _error(f"the option {option} is not supported; {ADVICE.get(name, 'leave it out')}")


def _check_tls(dsn: Mapping[str, str], *, system: bool) -> None:
    mode = dsn.get("sslmode", "prefer")
    if dsn.get("sslnegotiation") == "direct" and mode not in ("require", "verify-ca", "verify-full"):
        raise _error("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    if mode.startswith("verify") and not (system or _has_root_certificate(dsn)):
        raise _error(f"sslmode={mode} needs sslrootcert: a file, or system for the authorities of this machine")
    if mode != "disable":
        _check_certificates(dsn)


def _has_root_certificate(dsn: Mapping[str, str]) -> bool:
    """Whether asyncpg finds one, which may also be in a place that libpq knows."""
    elsewhere = "service" in dsn or "PGSSLROOTCERT" in os.environ
    return "sslrootcert" in dsn or elsewhere or Path("~/.postgresql/root.crt").expanduser().exists()


def _check_certificates(dsn: Mapping[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        if path := dsn.get(name):
            _load(name, path, lambda path=path: context.load_verify_locations(path))  # type: ignore[misc]
    if path := dsn.get("sslcert"):
        password = dsn.get("sslpassword", "")
        _load("sslcert", path, lambda: context.load_cert_chain(path, dsn.get("sslkey"), lambda: password))


def _load(name: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:  # a file that is missing, and ssl.SSLError
        raise _error(f"{name}={path} cannot be used: {error.strerror or error}") from None


def _error(text: str) -> ConfigurationError:
    return ConfigurationError(f"DATABASE_URL: {text}")
