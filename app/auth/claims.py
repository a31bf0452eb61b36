"""Maps the claims of a verified token to an identity. Time is an argument."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from app.auth.ports import Identity
from app.errors import Unauthorized

# RFC 8693 section 4.2 has `scope`, a string; others write a list, or call it `scopes` or `scp`.
_SCOPE_CLAIMS = ("scope", "scopes", "scp")
# From here on a float stands for several integers, hence for several users.
_LAST_EXACT_FLOAT = 2.0**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """The claims that a token must have. None: not required.

    `leeway_s` forgives clocks that differ. `require_exp` refuses tokens that never expire.
    """

    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    leeway_s: float = 10.0
    require_exp: bool = True


def parse_claims(payload: bytes) -> Mapping[str, object]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        raise Unauthorized("the claims of the token are not JSON") from None
    if not isinstance(claims, dict):
        raise Unauthorized("the claims of the token are not a JSON object")
    return claims


def identity_from_claims(claims: Mapping[str, object], rules: ClaimRules, *, now_s: float) -> Identity:
    """Return who the token is for. Raises `Unauthorized` if the claims break `rules` (RFC 7519 section 4.1)."""
    _check_times(claims, rules, now_s)
    _check_issuer(claims, rules.issuer)
    _check_audience(claims, rules.audience)
    return Identity(_user(claims, rules.user_claim), _scopes(claims), _realm(claims))


def _check_times(claims: Mapping[str, object], rules: ClaimRules, now_s: float) -> None:
    if rules.require_exp and claims.get("exp") is None:
        raise Unauthorized("the token has no expiration time (exp)")
    # 4.1.4: "on or after which the JWT MUST NOT be accepted"
    if "exp" in claims and _numeric_date(claims, "exp") <= now_s - rules.leeway_s:
        raise Unauthorized("the token has expired (exp)")
    for name in ("nbf", "iat"):
        if name in claims and _numeric_date(claims, name) > now_s + rules.leeway_s:
            raise Unauthorized(f"the token is not valid yet ({name})")


def _numeric_date(claims: Mapping[str, object], name: str) -> float:
    value = claims[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    # Python's JSON parser takes NaN and Infinity, with which a token would never expire.
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise Unauthorized(f"the claim {name} is not a number of seconds")


def _check_issuer(claims: Mapping[str, object], issuer: str | None) -> None:
    if issuer is not None and claims.get("iss") != issuer:
        raise Unauthorized("the token has another issuer (iss) than JWT_ISSUER, or none")


def _check_audience(claims: Mapping[str, object], audience: str | None) -> None:
    claimed = claims.get("aud")
    audiences = claimed if isinstance(claimed, list) else [claimed]
    if audience is not None and audience not in audiences:
        raise Unauthorized("the token is not for the audience (aud) in JWT_AUDIENCE")
    # 4.1.3: who does not identify itself with one of the values "MUST" reject the token
    if audience is None and claimed:
        raise Unauthorized("the token is for an audience (aud), and JWT_AUDIENCE is not set")


def _user(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if isinstance(value, float) and value.is_integer() and abs(value) < _LAST_EXACT_FLOAT:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Unauthorized(
            "the user claim of the token (JWT_USER_CLAIM) is missing, or neither a string nor an integer"
        )
    return value


def _realm(claims: Mapping[str, object]) -> str:
    """Return the quoted issuer, so that one with ":" in it does not read like another issuer with another user."""
    issuer = claims.get("iss")
    return "jwt:" + (quote(issuer, errors="surrogatepass") if isinstance(issuer, str) else "")


def _scopes(claims: Mapping[str, object]) -> frozenset[str]:
    """Return the scopes that the claims grant. Claims of another form grant none."""
    found: set[str] = set()
    for name in _SCOPE_CLAIMS:
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
    return frozenset(found)
