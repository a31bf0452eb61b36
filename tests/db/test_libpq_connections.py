"""Options of libpq in DATABASE_URL on real connections: of PostgreSQL, and with TLS of PgBouncer."""

import logging
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.db.database import Database
from app.db.migrations import migrate_url
from app.errors import Unavailable
from tests.certificates import write_self_signed
from tests.databases import empty_database, migrated_database, postgres
from tests.pgbouncer import PgBouncer, running_pgbouncer


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.aclose()


async def ask(database: Database, question: str) -> Any:
    async with database.read() as session:
        return (await session.execute(text(question))).scalar()


async def test_the_url_that_everyone_copies_works_but_for_what_asyncpg_cannot() -> None:
    with migrated_database("postgresql") as url:
        query = "sslmode=prefer&channel_binding=prefer&application_name=a%20b&connect_timeout=5&keepalives_idle=30"
        async with opened(f"{url}?{query}") as database:
            assert await ask(database, "SHOW application_name") == "a b"
        async with opened(f"{url}?options=-c%20search_path%3Dother&target_session_attrs=primary") as database:
            assert await ask(database, "SHOW search_path") == "other"
        async with opened(f"{url}?target_session_attrs=standby") as database:
            with pytest.raises(Unavailable):
                await ask(database, "SELECT 1")


async def test_address_and_user_may_be_options() -> None:
    with migrated_database("postgresql") as url:
        name = url.rpartition("/")[2]
        options = f"host=127.0.0.1&port={postgres().port}&user=postgres&password=x&dbname={name}"
        async with opened(f"postgresql:///?{options}") as database:
            assert await ask(database, "SELECT current_database()") == name
            assert await ask(database, "SELECT current_user") == "postgres"


async def test_a_service_file_and_a_password_file_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with migrated_database("postgresql") as url:
        name = url.rpartition("/")[2]
        service = tmp_path / "services"
        service.write_text(f"[notify]\nhost=127.0.0.1\nport={postgres().port}\nuser=postgres\ndbname={name}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(service))
        (tmp_path / "pgpass").touch(0o600)
        async with opened(f"postgresql://?service=notify&passfile={tmp_path}/pgpass") as database:
            assert await ask(database, "SELECT current_database()") == name


async def test_keepalives_are_set_on_the_connection() -> None:
    with migrated_database("postgresql") as url:
        async with opened(f"{url}?keepalives_idle=41&keepalives_count=4") as database:
            async with database.engine.connect() as connection:
                raw: Any = (await connection.get_raw_connection()).driver_connection
                sock = raw._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 41
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4


async def test_migrations_understand_the_same_options() -> None:
    with empty_database("postgresql") as url:
        await migrate_url(f"{url}?sslmode=disable&application_name=x&connect_timeout=5")
        assert postgres().query("SELECT count(*) FROM notify_log", url.rpartition("/")[2]) == [["0"]]


# TLS: PgBouncer's, for the tests' PostgreSQL is built without


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """server.crt and client.crt with their keys; other.crt, which nobody trusts."""
    with tempfile.TemporaryDirectory(prefix="certificates-") as name:
        directory = Path(name)
        for owner in ("server", "client", "other"):
            write_self_signed(directory, owner)
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)  # PgBouncer runs as another user
        yield directory


@pytest.fixture(scope="module")
def tls(certificates: Path) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres(), **server_certificate(certificates), client_tls_sslmode="require") as pgbouncer:
        yield pgbouncer


def server_certificate(directory: Path) -> dict[str, str]:
    return {"client_tls_key_file": f"{directory}/server.key", "client_tls_cert_file": f"{directory}/server.crt"}


async def is_connected(url: str) -> bool:
    async with opened(url) as database:
        try:
            return bool(await ask(database, "SELECT 1"))
        except Unavailable:
            return False


async def test_sslmode_means_what_it_means_everywhere(tls: PgBouncer, certificates: Path) -> None:
    server, other = f"{certificates}/server.crt", f"{certificates}/other.crt"
    for mode in ("prefer", "require"):
        assert await is_connected(tls.url("postgres", sslmode=mode, pgbouncer="true"))
    for mode in ("require", "verify-ca", "verify-full"):
        assert await is_connected(tls.url("postgres", sslmode=mode, sslrootcert=server, pgbouncer="true"))
        assert not await is_connected(tls.url("postgres", sslmode=mode, sslrootcert=other, pgbouncer="true"))
    assert not await is_connected(tls.url("postgres", sslmode="disable", pgbouncer="true"))
    assert not await is_connected(tls.url("postgres", sslrootcert="system", pgbouncer="true"))


async def test_verify_full_insists_on_the_name_of_the_host(tls: PgBouncer, certificates: Path) -> None:
    url = tls.url("postgres", sslrootcert=f"{certificates}/server.crt", pgbouncer="true").replace(
        "127.0.0.1", "localhost"
    )
    assert await is_connected(f"{url}&sslmode=verify-ca")
    assert not await is_connected(f"{url}&sslmode=verify-full")


async def test_a_client_certificate_is_sent(certificates: Path) -> None:
    options = {"client_tls_ca_file": f"{certificates}/client.crt", "client_tls_sslmode": "verify-full"}
    with running_pgbouncer(postgres(), **server_certificate(certificates), **options) as pgbouncer:
        for name, accepted in (("client", True), ("other", False)):
            files = {"sslcert": f"{certificates}/{name}.crt", "sslkey": f"{certificates}/{name}.key"}
            assert (
                await is_connected(pgbouncer.url("postgres", sslmode="require", pgbouncer="true", **files)) is accepted
            )


async def test_a_certificate_that_is_not_trusted_is_named_in_the_log(
    tls: PgBouncer, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.db")
    assert not await is_connected(tls.url("postgres", sslmode="require", sslrootcert=f"{certificates}/other.crt"))
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
