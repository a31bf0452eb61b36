"""When keys are fetched and how long they count. What comes over the network: test_jwks_http.py."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.auth.claims import ClaimRules
from app.auth.jwks import JwksKeys
from app.auth.jwt_builder import build_jwt_authenticator
from app.auth.jwt_keys import JwtKeys
from app.auth.ports import Identity
from app.auth.tokens import JwtAuthenticator
from app.errors import Unauthorized, Unavailable

ES256 = frozenset({"ES256"})


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 5_000.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return int(self.now_s * 1000)


class IdentityProvider:
    """Answers the requests of an HTTP client without a network; the attributes are what it answers from now on."""

    url = "https://idp.example/keys"

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.requests: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    def publish(self, *kids: str) -> None:
        entries = [jwt.algorithms.ECAlgorithm.to_jwk(key(kid).public_key(), as_dict=True) for kid in kids]
        keys = [entry | {"kid": kid, "use": "sig", "alg": "ES256"} for kid, entry in zip(kids, entries, strict=True)]
        self.status, self.body = 200, json.dumps({"keys": keys}).encode()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url}")
        self.asked.set()
        await self.open.wait()
        return httpx.Response(self.status, content=self.body)


@cache
def key(kid: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def provider() -> IdentityProvider:
    provider = IdentityProvider()
    provider.publish("a")
    return provider


@pytest.fixture
async def client(provider: IdentityProvider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(provider.answer)) as client:
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def jwks(provider: IdentityProvider, client: httpx.AsyncClient, clock: FakeClock) -> AsyncIterator[JwksKeys]:
    jwks = JwksKeys(provider.url, algorithms=ES256, clock=clock, client=client)
    yield jwks
    await jwks.aclose()


async def kids(jwks: JwksKeys, kid: str | None) -> list[str | None]:
    return [found.kid for found in await jwks.keys_for("ES256", kid)]


async def test_a_key_is_found_by_its_id_and_fetched_only_once(jwks: JwksKeys, provider: IdentityProvider) -> None:
    provider.publish("a", "b")
    assert provider.requests == []
    assert await kids(jwks, "b") == ["b"]
    assert await kids(jwks, "a") == ["a"]
    assert provider.requests == ["GET https://idp.example/keys"]


async def test_without_a_key_id_every_key_of_the_algorithm_is_found(jwks: JwksKeys, provider: IdentityProvider) -> None:
    provider.publish("a", "b")
    assert await kids(jwks, None) == ["a", "b"]
    assert await jwks.keys_for("RS256", None) == []


async def test_keys_are_fetched_again_after_300_seconds(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    await kids(jwks, "a")
    provider.publish("b")
    clock.now_s += 299
    assert await kids(jwks, "a") == ["a"]
    clock.now_s += 1
    assert await kids(jwks, "a") == []
    assert await kids(jwks, "b") == ["b"]
    assert len(provider.requests) == 2


async def test_an_unknown_key_id_fetches_the_new_key_at_once(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    await kids(jwks, "a")
    provider.publish("a", "b")
    clock.now_s += 10
    assert await kids(jwks, "b") == ["b"]
    assert len(provider.requests) == 2


async def test_a_flood_of_made_up_key_ids_costs_one_request_in_ten_seconds(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    for second in range(30):
        for n in range(20):
            assert await kids(jwks, f"made-up-{second}-{n}") == []
        assert await kids(jwks, "a") == ["a"]
        clock.now_s += 1
    assert len(provider.requests) == 3


async def test_concurrent_lookups_share_one_fetch(jwks: JwksKeys, provider: IdentityProvider) -> None:
    provider.open.clear()
    lookups = [asyncio.create_task(kids(jwks, "a")) for _ in range(50)]
    await provider.asked.wait()
    lookups += [asyncio.create_task(kids(jwks, "a")) for _ in range(50)]
    await asyncio.sleep(0)
    provider.open.set()
    assert await asyncio.gather(*lookups) == [["a"]] * 100
    assert len(provider.requests) == 1


async def test_a_lookup_that_is_cancelled_does_not_end_the_fetch_of_the_others(
    jwks: JwksKeys, provider: IdentityProvider
) -> None:
    provider.open.clear()
    first, second = (asyncio.create_task(kids(jwks, "a")) for _ in range(2))
    await provider.asked.wait()
    first.cancel()
    await asyncio.wait({first})
    provider.open.set()
    assert first.cancelled()
    assert await second == ["a"]


async def test_known_keys_are_used_while_a_fetch_for_an_unknown_one_is_under_way(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    await kids(jwks, "a")
    clock.now_s += 10
    provider.open.clear()
    provider.asked.clear()
    unknown = asyncio.create_task(kids(jwks, "made-up"))
    await provider.asked.wait()
    assert await kids(jwks, "a") == ["a"]
    assert not unknown.done()
    provider.open.set()
    assert await unknown == []


async def test_old_keys_count_for_an_hour_when_the_provider_fails(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    await kids(jwks, "a")
    provider.status = 500
    clock.now_s += 3599
    assert await kids(jwks, "a") == ["a"]
    clock.now_s += 1
    with pytest.raises(Unavailable, match="JWT_JWKS_URL"):
        await kids(jwks, "a")
    provider.publish("a")
    clock.now_s += 10
    assert await kids(jwks, "a") == ["a"]


async def test_an_unknown_key_id_is_unavailable_not_unauthorized_while_the_provider_fails(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    await kids(jwks, "a")
    provider.status = 503
    clock.now_s += 10
    with pytest.raises(Unavailable):
        await kids(jwks, "b")
    assert await kids(jwks, "a") == ["a"]


async def test_a_provider_that_fails_is_asked_once_in_ten_seconds_and_the_error_says_when_to_come_back(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock
) -> None:
    provider.status = 404
    for passed_s, wait_s in ((0, 10), (4, 6), (3, 3), (2.9, 1)):
        clock.now_s += passed_s
        with pytest.raises(Unavailable) as caught:
            await kids(jwks, "a")
        assert caught.value.retry_after_s == wait_s
    assert len(provider.requests) == 1
    clock.now_s += 0.2
    provider.publish("a")
    assert await kids(jwks, "a") == ["a"]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"keys":[]}', b'{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}'])
async def test_an_answer_without_a_usable_key_does_not_replace_the_old_keys(
    jwks: JwksKeys, provider: IdentityProvider, clock: FakeClock, body: bytes
) -> None:
    await kids(jwks, "a")
    provider.body = body
    clock.now_s += 300
    assert await kids(jwks, "a") == ["a"]
    assert len(provider.requests) == 2


async def test_no_more_than_a_hundred_keys_are_used(jwks: JwksKeys, provider: IdentityProvider) -> None:
    entry = json.loads(provider.body)["keys"][0]
    provider.body = json.dumps({"keys": [entry | {"kid": str(n)} for n in range(101)]}).encode()
    assert await kids(jwks, None) == [str(n) for n in range(100)]


@pytest.fixture
async def authenticator(
    provider: IdentityProvider, client: httpx.AsyncClient, clock: FakeClock
) -> AsyncIterator[JwtAuthenticator]:
    authenticator = build_jwt_authenticator(
        JwtKeys(jwks_url=provider.url), rules=ClaimRules(), clock=clock, strict=True, client=client
    )
    yield authenticator
    await authenticator.aclose()


def signed(kid: str | None, signer: str) -> str:
    return jwt.encode({"sub": "bob", "exp": 2**40}, key(signer), "ES256", {"kid": kid} if kid else None)


async def test_a_token_is_verified_with_the_key_it_names(
    authenticator: JwtAuthenticator, provider: IdentityProvider
) -> None:
    provider.publish("a", "b")
    assert await authenticator.authenticate(signed("b", "b")) == Identity("bob")
    assert await authenticator.authenticate(signed(None, "b")) == Identity("bob")
    with pytest.raises(Unauthorized, match="signature"):
        await authenticator.authenticate(signed("a", "b"))
    with pytest.raises(Unauthorized, match="kid"):
        await authenticator.authenticate(signed("c", "b"))


async def test_a_token_is_not_refused_for_good_while_the_provider_is_out_of_reach(
    authenticator: JwtAuthenticator, provider: IdentityProvider
) -> None:
    provider.status = 502
    with pytest.raises(Unavailable):
        await authenticator.authenticate(signed("a", "a"))
