"""JSON Web Tokens: verifying those of users, making one for a developer (RFC 7519, with the practices of RFC 8725)."""

import json
from collections.abc import Iterable, Sequence

from jwt import PyJWTError

from app.auth.claims import ClaimRules, identity_from_claims, parse_claims
from app.auth.keys import SYMMETRIC, KeySource, Signatures, hmac_jws
from app.auth.ports import Identity
from app.errors import Unauthorized
from app.messages.receivers import receiver_problem
from app.timing.clock import Clock

MAX_TOKEN_CHARS = 8192


class JwtAuthenticator:
    """Takes tokens that a key of `sources` signed. Owns the sources; its maker calls `aclose` at the end.

    The `alg` of a token only chooses among the sources; what a key can verify was fixed when the key was loaded.
    `jwt_builder.build_jwt_authenticator` makes one from settings.
    """

    def __init__(self, sources: Sequence[KeySource], *, rules: ClaimRules, clock: Clock) -> None:
        self.sources = tuple(sources)
        self._rules = rules
        self._clock = clock
        self._signatures = Signatures()

    async def authenticate(self, token: str) -> Identity:
        """Raises `Unauthorized`, or `Unavailable` when the keys of the identity provider are out of reach."""
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            raise Unauthorized("the token is not a JSON Web Token")
        try:
            payload = await self._verified_payload(token)
        except PyJWTError as error:
            # The name only: some of its texts quote the token.
            raise Unauthorized(f"the token is not an acceptable JSON Web Token ({type(error).__name__})") from None
        return identity_from_claims(parse_claims(payload), self._rules, now_s=self._clock.epoch_ms() / 1000)

    async def _verified_payload(self, token: str) -> bytes:
        header = self._signatures.unverified_header(token)
        algorithm, kid = str(header.get("alg")), header.get("kid")
        sources = [source for source in self.sources if algorithm in source.algorithms]
        if not sources:
            raise Unauthorized("the algorithm (alg) of the token is not accepted")
        tried = 0
        for source in sources:
            for key in await source.keys_for(algorithm, None if kid is None else str(kid)):
                payload = self._signatures.payload(token, key, algorithm)
                if payload is not None:
                    return payload
                tried += 1
        raise Unauthorized("the signature of the token is wrong" if tried else "the key (kid) of the token is unknown")

    async def aclose(self) -> None:
        for source in self.sources:
            await source.aclose()


def mint_token(
    secret: str,
    user: str,
    *,
    ttl_s: int,
    now_s: int,
    scopes: Iterable[str] = (),
    issuer: str | None = None,
    audience: str | None = None,
    user_claim: str = "sub",
    algorithm: str = "HS256",
) -> str:
    """Return a token that a service with the same JWT_* settings accepts from `now_s` for `ttl_s` seconds.

    Raises ValueError, with a sentence for the command line, when no service would accept it.
    """
    if problem := receiver_problem(user, "the user id"):
        raise ValueError(problem)
    if ttl_s <= 0:
        raise ValueError("the lifetime must be at least one second")
    if algorithm not in SYMMETRIC:
        raise ValueError("only HS256, HS384 and HS512 tokens can be made from a secret")
    optional = {"iss": issuer, "aud": audience, "scope": " ".join(scopes)}
    claims = {"iat": now_s, "exp": now_s + ttl_s} | {name: value for name, value in optional.items() if value}
    payload = json.dumps(claims | {user_claim: user}, separators=(",", ":")).encode()
    try:
        return hmac_jws().encode(payload, secret, algorithm)
    except PyJWTError as error:
        raise ValueError(f"JWT_SECRET cannot be used: {error}") from None
