"""What comes over the network: a real server on a free port."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.auth.jwks import JwksKeys, JwksLimits
from app.errors import Unavailable
from app.timing.clock import SystemClock

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def key_set() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return json.dumps({"keys": [jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True) | {"kid": "a"}]}).encode()


class IdentityProvider:
    """The attributes are what it answers from now on."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers: list[str] = []
        self.body = key_set()
        self.requests: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        self.asked.set()
        await self.open.wait()
        head = [f"HTTP/1.1 {self.status}", *self.headers, f"Content-Length: {len(self.body)}", "Connection: close"]
        writer.write("\r\n".join([*head, "", ""]).encode() + self.body)
        await writer.drain()


@asynccontextmanager
async def serving(handler: Handler, ssl: SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port; yields `host:port`, and waits for the last connection at the end."""
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(handle(reader, writer)))

    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*connections)


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    async with serving(provider.answer) as address:
        provider.url = f"http://{address}/keys"
        yield provider
        provider.open.set()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def jwks_at(url: str, client: httpx.AsyncClient | None, *, timeout_s: float = 5.0, retry_s: float = 10.0) -> JwksKeys:
    limits = JwksLimits(timeout_s=timeout_s, retry_s=retry_s)
    return JwksKeys(url, algorithms=frozenset({"ES256"}), clock=SystemClock(), limits=limits, client=client)


async def kids(jwks: JwksKeys) -> list[str | None]:
    return [found.kid for found in await jwks.keys_for("ES256", "a")]


async def test_an_answer_may_have_one_megabyte_and_not_one_byte_more(
    provider: IdentityProvider, client: httpx.AsyncClient
) -> None:
    good = provider.body
    provider.body = good.ljust(1_048_576)
    assert await kids(jwks_at(provider.url, client)) == ["a"]
    provider.body = good.ljust(1_048_577)
    with pytest.raises(Unavailable):
        await kids(jwks_at(provider.url, client))


async def test_a_compressed_answer_is_neither_asked_for_nor_unpacked(
    provider: IdentityProvider, client: httpx.AsyncClient
) -> None:
    provider.headers, provider.body = ["Content-Encoding: gzip"], gzip.compress(provider.body)
    with pytest.raises(Unavailable):
        await kids(jwks_at(provider.url, client))
    assert "accept-encoding: identity" in provider.requests[0].lower()


async def test_a_redirect_is_not_followed(provider: IdentityProvider) -> None:
    async with serving(IdentityProvider().answer) as elsewhere:
        provider.status, provider.headers = "302 Found", [f"Location: http://{elsewhere}/"]
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            with pytest.raises(Unavailable):
                await kids(jwks_at(provider.url, client))


async def test_a_provider_that_cannot_be_connected_is_unavailable(client: httpx.AsyncClient) -> None:
    async with serving(IdentityProvider().answer) as address:
        pass
    with pytest.raises(Unavailable):
        await kids(jwks_at(f"http://{address}/", client))


async def test_a_provider_that_does_not_answer_is_given_up(
    provider: IdentityProvider, client: httpx.AsyncClient
) -> None:
    provider.open.clear()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await kids(jwks_at(provider.url, client, timeout_s=0.05))


async def test_an_answer_that_only_drips_is_given_up(client: httpx.AsyncClient) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as address, asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await kids(jwks_at(f"http://{address}/", client, timeout_s=0.2))


async def test_closing_ends_the_fetch_and_its_waiters_see_unavailable(
    provider: IdentityProvider, client: httpx.AsyncClient
) -> None:
    provider.open.clear()
    jwks = jwks_at(provider.url, client)
    lookup = asyncio.create_task(kids(jwks))
    await provider.asked.wait()
    async with asyncio.timeout(2):
        await jwks.aclose()
        with pytest.raises(Unavailable):
            await lookup


async def test_closing_closes_the_own_client_and_leaves_one_that_was_handed_over(
    provider: IdentityProvider, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    own, borrowed = (jwks_at(provider.url, handed, retry_s=0) for handed in (None, client))
    for jwks in (own, borrowed):
        assert await jwks.keys_for("ES256", "unknown") == []
        await jwks.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await own.keys_for("ES256", "unknown")
    assert await borrowed.keys_for("ES256", "unknown") == []


async def test_the_certificate_of_the_provider_is_verified(
    provider: IdentityProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server_side, client_side = tls_contexts(tmp_path)
    async with serving(provider.answer, server_side) as address:
        distrustful = jwks_at(f"https://{address}/", None)
        with pytest.raises(Unavailable):
            await kids(distrustful)
        await distrustful.aclose()
        async with httpx.AsyncClient(verify=client_side, trust_env=False) as client:
            assert await kids(jwks_at(f"https://{address}/", client)) == ["a"]


def tls_contexts(folder: Path) -> tuple[SSLContext, SSLContext]:
    """A server with a certificate of its own making, and the one client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(certificate + private)
    server_side = SSLContext(PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "server.pem")
    return server_side, create_default_context(cadata=certificate.decode())
