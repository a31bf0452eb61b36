import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.auth.claims import ClaimRules
from app.auth.jwt_builder import build_jwt_authenticator
from app.auth.jwt_keys import JwtKeys
from app.auth.ports import Identity
from app.auth.tokens import JwtAuthenticator, mint_token
from app.errors import Unauthorized

NOW_S = 1_700_000_000
SECRET = "0123456789abcdef0123456789abcdef"


class StoppedClock:
    def monotonic(self) -> float:
        return 0.0

    def epoch_ms(self) -> int:
        return NOW_S * 1000


def authenticator(keys: JwtKeys, rules: ClaimRules | None = None) -> JwtAuthenticator:
    return build_jwt_authenticator(keys, rules=rules or ClaimRules(), clock=StoppedClock(), strict=True)


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_a_minted_token_is_accepted_by_a_service_with_the_same_settings() -> None:
    rules = ClaimRules(issuer="us", audience="push", user_claim="uid")
    token = mint_token(
        SECRET * 2,
        "张三",
        ttl_s=60,
        now_s=NOW_S,
        scopes=["push", "admin"],
        issuer="us",
        audience="push",
        user_claim="uid",
        algorithm="HS512",
    )
    judge = authenticator(JwtKeys(secret=SECRET * 2, algorithms=("HS512",)), rules)
    assert await judge.authenticate(token) == Identity("张三", frozenset({"push", "admin"}))


def test_a_minted_token_has_only_the_claims_that_were_asked_for() -> None:
    token = mint_token("short", "bob", ttl_s=60, now_s=NOW_S)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {"sub": "bob", "iat": NOW_S, "exp": NOW_S + 60}


async def test_a_minted_token_expires_after_its_lifetime() -> None:
    judge = authenticator(JwtKeys(secret=SECRET))
    with pytest.raises(Unauthorized, match="expired"):
        await judge.authenticate(mint_token(SECRET, "bob", ttl_s=60, now_s=NOW_S - 70))
    assert await judge.authenticate(mint_token(SECRET, "bob", ttl_s=60, now_s=NOW_S - 69)) == Identity("bob")


@pytest.mark.parametrize(
    ("secret", "user", "ttl_s", "algorithm"),
    [
        (SECRET, "a/b", 60, "HS256"),
        (SECRET, "", 60, "HS256"),
        (SECRET, "bob", 0, "HS256"),
        (SECRET, "bob", 60, "RS256"),
        (SECRET, "bob", 60, "none"),
        ("", "bob", 60, "HS256"),
        (public_key(), "bob", 60, "HS256"),
    ],
)
def test_a_token_that_no_service_would_accept_is_not_minted(secret: str, user: str, ttl_s: int, algorithm: str) -> None:
    with pytest.raises(ValueError, match=r"^(the|only|JWT_SECRET) "):
        mint_token(secret, user, ttl_s=ttl_s, now_s=NOW_S, algorithm=algorithm)
