import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from app.auth.claims import ClaimRules
from app.auth.jwt_builder import build_jwt_authenticator
from app.auth.jwt_keys import JwtKeys
from app.auth.keys import Key, StaticKeys, VerifyingKey
from app.auth.ports import Identity
from app.auth.tokens import JwtAuthenticator
from app.errors import Unauthorized, Unavailable

NOW_S = 1_700_000_000
SECRET = "0123456789abcdef0123456789abcdef"
CLAIMS = {"sub": "bob", "exp": NOW_S + 60}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class StoppedClock:
    def monotonic(self) -> float:
        return 0.0

    def epoch_ms(self) -> int:
        return NOW_S * 1000


class Remote:
    """A key source that is out of reach, or answers with `keys`."""

    def __init__(self, algorithms: set[str], keys: Sequence[Key] | None = None) -> None:
        self.algorithms = frozenset(algorithms)
        self.keys = keys
        self.asked: list[tuple[str, str | None]] = []
        self.closed = False

    async def keys_for(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        self.asked.append((algorithm, kid))
        if self.keys is None:
            raise Unavailable("out of reach")
        return self.keys

    async def aclose(self) -> None:
        self.closed = True


@cache
def rsa_key(_: str = "") -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def authenticator(keys: JwtKeys, rules: ClaimRules | None = None) -> JwtAuthenticator:
    return build_jwt_authenticator(keys, rules=rules or ClaimRules(), clock=StoppedClock(), strict=False)


@cache
def both_keys() -> JwtAuthenticator:
    return authenticator(JwtKeys(secret=SECRET, public_key=pem(rsa_key())))


def forge(header: dict[str, object], secret: bytes, claims: object = CLAIMS) -> str:
    """Sign with HMAC-SHA256 whatever the header says, as an attacker would."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = base64.urlsafe_b64encode(hmac.digest(secret, b".".join(parts), hashlib.sha256)).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


async def refusal(authenticator: JwtAuthenticator, token: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        await authenticator.authenticate(token)
    return caught.value.detail


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_token_signed_with_the_secret_is_accepted(algorithm: str) -> None:
    token = jwt.encode(CLAIMS | {"scope": "push"}, SECRET * 2, algorithm)
    identity = await authenticator(JwtKeys(secret=SECRET * 2, algorithms=(algorithm,))).authenticate(token)
    assert identity == Identity("bob", frozenset({"push"}))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa_key(), "RS256"),
        (rsa_key(), "RS512"),
        (rsa_key(), "PS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
async def test_a_token_signed_with_a_private_key_is_accepted(key: PrivateKey, algorithm: str) -> None:
    keys = JwtKeys(public_key=pem(key), algorithms=(algorithm,))
    assert await authenticator(keys).authenticate(jwt.encode(CLAIMS, key, algorithm)) == Identity("bob")


async def test_a_secret_and_a_public_key_work_side_by_side() -> None:
    assert await both_keys().authenticate(jwt.encode(CLAIMS, SECRET, "HS256")) == Identity("bob")
    assert await both_keys().authenticate(jwt.encode(CLAIMS, rsa_key(), "RS256")) == Identity("bob")


async def test_a_token_signed_with_another_key_is_unauthorized() -> None:
    by_secret = authenticator(JwtKeys(secret=SECRET))
    by_key = authenticator(JwtKeys(public_key=pem(rsa_key())))
    wrong_secret = jwt.encode(CLAIMS, SECRET[::-1], "HS256")
    wrong_key = jwt.encode(CLAIMS, rsa_key("another"), "RS256")
    assert "signature" in await refusal(by_secret, wrong_secret)
    assert "signature" in await refusal(by_key, wrong_key)


async def test_a_token_whose_claims_were_changed_is_unauthorized() -> None:
    header, _, signature = jwt.encode(CLAIMS, SECRET, "HS256").split(".")
    claims = jwt.encode(CLAIMS | {"sub": "ann"}, SECRET, "HS256").split(".")[1]
    assert "signature" in await refusal(authenticator(JwtKeys(secret=SECRET)), f"{header}.{claims}.{signature}")


@pytest.mark.parametrize("with_secret", [True, False])
async def test_a_public_key_used_as_a_secret_opens_nothing(with_secret: bool) -> None:
    attacked = authenticator(JwtKeys(secret=SECRET if with_secret else None, public_key=pem(rsa_key())))
    for algorithm in ("HS256", "RS256"):
        for secret in (pem(rsa_key()), pem(rsa_key()).strip()):
            detail = await refusal(attacked, forge({"alg": algorithm}, secret.encode()))
            assert "signature" in detail or "algorithm" in detail


async def test_a_key_never_verifies_by_an_algorithm_it_was_not_loaded_for() -> None:
    # Even where a source hands out a key that does not fit, as no source of ours does.
    public = VerifyingKey(rsa_key().public_key(), frozenset({"RS256"}))
    careless = Remote({"HS256", "RS512"}, [public])
    attacked = JwtAuthenticator([careless], rules=ClaimRules(), clock=StoppedClock())
    await refusal(attacked, forge({"alg": "HS256"}, pem(rsa_key()).encode()))
    await refusal(attacked, jwt.encode(CLAIMS, rsa_key(), "RS512"))
    assert len(careless.asked) == 2


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", None, ["HS256"], {"HS256": 1}, 256, "HS384", "RS256"]
)
async def test_an_algorithm_that_is_not_accepted_is_unauthorized(algorithm: object) -> None:
    detail = await refusal(authenticator(JwtKeys(secret=SECRET)), forge({"alg": algorithm}, SECRET.encode()))
    assert "algorithm" in detail


async def test_an_unsigned_token_is_unauthorized() -> None:
    for keys in (JwtKeys(secret=SECRET), JwtKeys(public_key=pem(rsa_key()))):
        assert "algorithm" in await refusal(authenticator(keys), jwt.encode(CLAIMS, "", "none"))
        stripped = jwt.encode(CLAIMS, SECRET, "HS256").rpartition(".")[0] + "."
        assert await refusal(authenticator(keys), stripped)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "crit": ["exp"], "exp": 1},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "kid": ["a"]},
    ],
)
async def test_a_header_with_demands_that_are_not_understood_is_unauthorized(header: dict[str, object]) -> None:
    assert await refusal(authenticator(JwtKeys(secret=SECRET)), forge(header, SECRET.encode()))


async def test_the_kid_of_a_token_does_not_matter_to_configured_keys() -> None:
    token = forge({"alg": "HS256", "kid": "../../dev/null"}, SECRET.encode())
    assert await authenticator(JwtKeys(secret=SECRET)).authenticate(token) == Identity("bob")


async def test_a_key_inside_the_token_is_not_believed() -> None:
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("attacker").public_key(), as_dict=True)
    token = jwt.encode(CLAIMS, rsa_key("attacker"), "RS256", {"jwk": jwk, "jku": "https://attacker.example"})
    assert "signature" in await refusal(authenticator(JwtKeys(public_key=pem(rsa_key()))), token)


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"exp": NOW_S - 11}, "expired"),
        ({"exp": None}, "no expiration"),
        ({"nbf": NOW_S + 11}, "not valid yet"),
        ({"iss": "other"}, "JWT_ISSUER"),
        ({"aud": "other"}, "JWT_AUDIENCE"),
        ({"sub": ""}, "user id"),
    ],
)
async def test_claims_are_judged_by_the_rules_and_the_clock(claims: dict[str, object], detail: str) -> None:
    rules = ClaimRules(issuer="us", audience="push")
    valid = CLAIMS | {"iss": "us", "aud": "push"}
    judge = authenticator(JwtKeys(secret=SECRET), rules)
    assert await judge.authenticate(forge({"alg": "HS256"}, SECRET.encode(), valid)) == Identity("bob")
    assert detail in await refusal(judge, forge({"alg": "HS256"}, SECRET.encode(), valid | claims))


@pytest.mark.parametrize("claims", [[], "bob", None, 1])
async def test_signed_claims_that_are_no_object_are_unauthorized(claims: object) -> None:
    assert "object" in await refusal(
        authenticator(JwtKeys(secret=SECRET)), forge({"alg": "HS256"}, SECRET.encode(), claims)
    )


async def test_a_token_may_have_8192_characters_and_not_one_more() -> None:
    judge = authenticator(JwtKeys(secret=SECRET))
    longest = next(
        token for n in range(6200, 5900, -1) if len(token := jwt.encode(CLAIMS | {"x": "x" * n}, SECRET)) <= 8192
    )
    assert len(longest) > 8188
    assert await judge.authenticate(longest) == Identity("bob")
    assert "longer" in await refusal(judge, longest.ljust(8193, "x"))


@pytest.mark.parametrize("token", ["", ".", "..", "...", "ä.ö.ü", "\ud800.a.b", "a.b.\udfff", "\x00.\x00.\x00"])
async def test_a_string_that_is_no_token_is_unauthorized(token: str) -> None:
    assert "not a" in await refusal(both_keys(), token)


@settings(deadline=None)  # the first example waits for an RSA key
@given(st.text() | st.lists(st.text(), max_size=4).map(".".join))
async def test_text_that_is_no_token_is_unauthorized_and_nothing_worse(token: str) -> None:
    assert await refusal(both_keys(), token)


@settings(deadline=None)  # the first example waits for an RSA key
@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["HS256", "RS256"]),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    ),
    st.binary(max_size=8),
)
async def test_any_header_with_a_wrong_signature_is_unauthorized(header: dict[str, object], secret: bytes) -> None:
    assert await refusal(both_keys(), forge(header, secret))


async def test_no_refusal_shows_the_token() -> None:
    judge = authenticator(JwtKeys(secret=SECRET))
    wrong = jwt.encode(CLAIMS | {"sub": "marker/marker"}, SECRET[::-1])
    bad_user = jwt.encode(CLAIMS | {"sub": "marker/marker"}, SECRET)
    crit = forge({"alg": "HS256", "crit": ["marker"]}, SECRET.encode())
    for token in (wrong, bad_user, crit, "marker", "marker.marker.marker", "märker"):
        detail = await refusal(judge, token)
        assert "marker" not in detail
        assert not any(part in detail for part in token.split("."))


async def test_a_source_is_asked_only_for_its_algorithms() -> None:
    remote = Remote({"RS256"})
    secret = authenticator(JwtKeys(secret=SECRET)).sources[0]
    judge = JwtAuthenticator([remote, secret], rules=ClaimRules(), clock=StoppedClock())
    assert await judge.authenticate(jwt.encode(CLAIMS, SECRET)) == Identity("bob")
    assert remote.asked == []
    with pytest.raises(Unavailable):
        await judge.authenticate(jwt.encode(CLAIMS, rsa_key(), "RS256", {"kid": "k"}))
    assert remote.asked == [("RS256", "k")]


async def test_of_several_keys_and_sources_the_first_that_fits_decides() -> None:
    wrong = VerifyingKey(rsa_key("other").public_key(), frozenset({"RS256"}))
    right = VerifyingKey(rsa_key().public_key(), frozenset({"RS256"}))
    other_kind = VerifyingKey(ec.generate_private_key(ec.SECP256R1()).public_key(), frozenset({"ES256"}))
    remote = Remote({"RS256"})
    token = jwt.encode(CLAIMS, rsa_key(), "RS256")
    for static in (
        [StaticKeys([other_kind, right])],
        [StaticKeys([wrong, right])],
        [StaticKeys([wrong]), StaticKeys([right])],
    ):
        judge = JwtAuthenticator([*static, remote], rules=ClaimRules(), clock=StoppedClock())
        assert await judge.authenticate(token) == Identity("bob")
    assert remote.asked == []


async def test_a_token_for_which_no_key_is_known_is_unauthorized() -> None:
    judge = JwtAuthenticator([Remote({"RS256"}, [])], rules=ClaimRules(), clock=StoppedClock())
    assert "kid" in await refusal(judge, jwt.encode(CLAIMS, rsa_key(), "RS256"))


async def test_closing_closes_every_source() -> None:
    remotes = [Remote({"RS256"}), Remote({"ES256"})]
    await JwtAuthenticator([*remotes, StaticKeys([])], rules=ClaimRules(), clock=StoppedClock()).aclose()
    assert all(remote.closed for remote in remotes)
