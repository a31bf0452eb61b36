"""Makes an authenticator from the JWT_* settings. Errors name the setting to change."""

from collections.abc import Iterator

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm

from app.auth.claims import ClaimRules
from app.auth.jwks import JwksKeys
from app.auth.jwt_keys import JwtKeys
from app.auth.keys import (
    ASYMMETRIC,
    HMAC_HASHES,
    SYMMETRIC,
    KeySource,
    SecretKey,
    StaticKeys,
    VerifyingKey,
    verifying_key,
)
from app.auth.tokens import JwtAuthenticator
from app.errors import ConfigurationError
from app.timing.clock import Clock

_DEFAULT_SYMMETRIC = frozenset({"HS256"})
_DEFAULT_ASYMMETRIC = frozenset({"RS256", "ES256"})


def build_jwt_authenticator(
    keys: JwtKeys, *, rules: ClaimRules, clock: Clock, strict: bool, client: httpx.AsyncClient | None = None
) -> JwtAuthenticator:
    """Return an authenticator that the caller closes. Nothing is fetched yet.

    Raises `ConfigurationError` when there is no key, a key is unusable, or JWT_ALGORITHMS and the keys do not fit
    together: an algorithm without a key, a key without an algorithm. `strict` demands a secret as long as its hash
    (RFC 7518 section 3.2: 32 bytes for HS256). `client` fetches the key set and stays the caller's.
    """
    if not keys:
        raise ConfigurationError("tokens cannot be verified: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL")
    asked = frozenset(keys.algorithms)
    if unknown := asked - SYMMETRIC - ASYMMETRIC:
        known = ", ".join(sorted(SYMMETRIC | ASYMMETRIC))
        raise ConfigurationError(f"JWT_ALGORITHMS: {_listed(unknown)} is not supported; it takes {known}")
    sources = list(_sources(keys, asked, clock=clock, strict=strict, client=client))
    if idle := asked.difference(*(source.algorithms for source in sources)):
        needed = "JWT_SECRET" if idle <= SYMMETRIC else "a fitting JWT_PUBLIC_KEY, or JWT_JWKS_URL"
        raise ConfigurationError(f"JWT_ALGORITHMS has {_listed(idle)}, which has no key: set {needed}")
    return JwtAuthenticator(sources, rules=rules, clock=clock)


def _sources(
    keys: JwtKeys, asked: frozenset[str], *, clock: Clock, strict: bool, client: httpx.AsyncClient | None
) -> Iterator[KeySource]:
    # What is at hand comes first: a key set is asked, and perhaps fetched, only for what no other key has signed.
    if keys.secret is not None:
        yield StaticKeys([_secret_key(keys.secret, asked, strict=strict)])
    if keys.public_key is not None:
        yield StaticKeys([_public_key(keys.public_key, asked)])
    if keys.jwks_url is not None:
        algorithms = _chosen("JWT_JWKS_URL", asked, possible=ASYMMETRIC, default=_DEFAULT_ASYMMETRIC)
        yield JwksKeys(_checked_url(keys.jwks_url), algorithms=algorithms, clock=clock, client=client)


def _chosen(
    setting: str, asked: frozenset[str], *, possible: frozenset[str], default: frozenset[str]
) -> frozenset[str]:
    chosen = possible & (asked or default)
    if not chosen:
        raise ConfigurationError(
            f"{setting} is set, but JWT_ALGORITHMS has none of its algorithms: {_listed(possible)}"
        )
    return chosen


def _secret_key(secret: str, asked: frozenset[str], *, strict: bool) -> SecretKey:
    algorithms = _chosen("JWT_SECRET", asked, possible=SYMMETRIC, default=_DEFAULT_SYMMETRIC)
    try:
        # Refuses an empty secret, and public keys in their usual forms.
        value = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except (InvalidKeyError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"JWT_SECRET cannot be used: {error}") from None
    least = max(HMAC_HASHES[name]().digest_size for name in algorithms)
    if strict and len(value) < least:
        raise ConfigurationError(f"JWT_SECRET has {len(value)} bytes; {_listed(algorithms)} needs at least {least}")
    return SecretKey(value, algorithms)


def _public_key(pem: str, asked: frozenset[str]) -> VerifyingKey:
    try:
        key = verifying_key(load_pem_public_key(pem.replace("\\n", "\n").strip().encode()))
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("JWT_PUBLIC_KEY is not a public key in PEM form (BEGIN PUBLIC KEY)") from None
    if key is None:
        raise ConfigurationError("JWT_PUBLIC_KEY must be RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519")
    default = key.algorithms & _DEFAULT_ASYMMETRIC or key.algorithms
    return key.only_for(_chosen("JWT_PUBLIC_KEY", asked, possible=key.algorithms, default=default))


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("JWT_JWKS_URL is not an http or https address")
    return url


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
