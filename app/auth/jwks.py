"""The keys of an identity provider, fetched from a URL, cached, and fetched again no more often than needed."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from app.auth.jwk_set import InvalidKeySet, parse_key_set
from app.auth.keys import VerifyingKey
from app.errors import Unavailable
from app.timing.clock import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JwksLimits:
    """Times in seconds. `stale_s` counts from the last fetch that succeeded, `retry_s` from the start of the last one.

    `retry_s` is all that a flood of made-up key ids can cost the identity provider: one request in that time.
    """

    lifespan_s: float = 300.0
    stale_s: float = 3600.0
    retry_s: float = 10.0
    timeout_s: float = 5.0
    max_bytes: int = 1_048_576
    max_keys: int = 100


class JwksKeys:
    """Keys from `url`, fetched when first needed, when they are old, and for an unknown key id.

    Concurrent lookups share one fetch. While the identity provider is out of reach the keys of the last good answer
    count for `stale_s`; an answer without a single usable key is not a good one.

    A `client` that is handed over stays its owner's, who answers for its TLS settings; without one, this makes its
    own and closes it in `aclose`. Redirects are not followed: the configured origin alone vouches for the keys.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithms: frozenset[str],
        clock: Clock,
        limits: JwksLimits | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.algorithms = algorithms
        self._url = httpx.URL(url)
        self._clock = clock
        self._limits = limits or JwksLimits()
        self._client = client or httpx.AsyncClient()
        self._owns_client = client is None
        self._keys: tuple[VerifyingKey, ...] = ()
        self._fetched_s = self._tried_s = -float("inf")
        self._failed = False
        self._fetch: asyncio.Task[None] | None = None

    async def keys_for(self, algorithm: str, kid: str | None) -> Sequence[VerifyingKey]:
        """Return the keys that fit; without `kid`, all of the algorithm.

        Raises `Unavailable` when none fits and the last fetch failed: a newer set might well have one.
        """
        if self._age_s() >= self._limits.lifespan_s:
            await self._refresh()
        found = self._find(algorithm, kid)
        if not found:
            await self._refresh()
            found = self._find(algorithm, kid)
        if not found and self._failed:
            wait_s = self._tried_s + self._limits.retry_s - self._clock.monotonic()
            detail = "the keys of the identity provider (JWT_JWKS_URL) cannot be fetched"
            raise Unavailable(detail, retry_after_s=max(1, round(wait_s)))
        return found

    async def aclose(self) -> None:
        """End a fetch that is under way (its waiters see `Unavailable`) and the own HTTP client."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait({self._fetch})
        if self._owns_client:
            await self._client.aclose()

    def _age_s(self) -> float:
        return self._clock.monotonic() - self._fetched_s

    def _find(self, algorithm: str, kid: str | None) -> list[VerifyingKey]:
        if self._age_s() >= self._limits.stale_s:
            return []
        return [key for key in self._keys if algorithm in key.algorithms and kid in (None, key.kid)]

    async def _refresh(self) -> None:
        """Join the fetch that is under way, or start one unless the last one started less than `retry_s` ago."""
        fetch = self._fetch
        if fetch is None:
            now_s = self._clock.monotonic()
            if now_s - self._tried_s < self._limits.retry_s:
                return
            # Failed until it has succeeded, so also when it is cancelled.
            self._tried_s, self._failed = now_s, True
            fetch = self._fetch = asyncio.create_task(self._fetch_keys(), name="jwks-fetch")
            fetch.add_done_callback(self._forget_fetch)
        # Unlike `await fetch`, this neither ends the fetch with a caller that is cancelled nor a caller with the fetch.
        await asyncio.wait({fetch})
        if not fetch.cancelled():
            fetch.result()

    def _forget_fetch(self, _: asyncio.Task[None]) -> None:
        self._fetch = None

    async def _fetch_keys(self) -> None:
        try:
            # httpx's own timeout is for each read: a slow drip would never end.
            async with asyncio.timeout(self._limits.timeout_s):
                body = await self._download()
            self._keys = parse_key_set(body, max_keys=self._limits.max_keys)
        except (httpx.HTTPError, TimeoutError, InvalidKeySet) as error:
            logger.warning("fetching the keys of %s failed: %r", self._url.host, error)
            return
        self._fetched_s, self._failed = self._tried_s, False

    async def _download(self) -> bytes:
        # identity: a small compressed answer cannot become a big one before its size is seen.
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        request = self._client.build_request("GET", self._url, headers=headers, timeout=self._limits.timeout_s)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if response.status_code != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
                raise InvalidKeySet(f"status {response.status_code}, or an encoding that was not asked for")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._limits.max_bytes:
                    raise InvalidKeySet(f"more than {self._limits.max_bytes} bytes")
            return bytes(body)
        finally:
            await response.aclose()
