from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.auth.claims import ClaimRules
from app.auth.jwt_builder import build_jwt_authenticator
from app.auth.jwt_keys import JwtKeys
from app.auth.tokens import JwtAuthenticator
from app.errors import ConfigurationError
from app.timing.clock import SystemClock

SECRET = "0123456789abcdef0123456789abcdef"
URL = "https://idp.example/keys"


def build(keys: JwtKeys, *, strict: bool = True) -> JwtAuthenticator:
    return build_jwt_authenticator(keys, rules=ClaimRules(), clock=SystemClock(), strict=strict)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def problem(keys: JwtKeys, *, strict: bool = True) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build(keys, strict=strict)
    return str(caught.value)


def test_without_any_key_the_error_names_the_three_settings() -> None:
    assert not JwtKeys(algorithms=("HS256",))
    text = problem(JwtKeys())
    assert all(name in text for name in ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"))


@pytest.mark.parametrize("algorithm", ["none", "None", "hs256", "HS1024", "RSA", "ES256K", "dir", ""])
def test_an_unknown_algorithm_and_none_are_refused(algorithm: str) -> None:
    text = problem(JwtKeys(secret=SECRET, algorithms=("HS256", algorithm)))
    assert text.startswith(f"JWT_ALGORITHMS: {algorithm} is not supported")


@pytest.mark.parametrize(
    ("keys", "setting"),
    [
        (JwtKeys(secret=SECRET, algorithms=("HS256", "RS256")), "JWT_PUBLIC_KEY"),
        (JwtKeys(secret=SECRET, algorithms=("RS256",)), "JWT_SECRET"),
        (JwtKeys(jwks_url=URL, algorithms=("HS256", "RS256")), "JWT_SECRET"),
        (JwtKeys(jwks_url=URL, algorithms=("HS256",)), "JWT_JWKS_URL"),
        (JwtKeys(public_key=pem(rsa_key()), algorithms=("HS256",)), "JWT_PUBLIC_KEY"),
        (JwtKeys(public_key=pem(rsa_key()), algorithms=("ES256",)), "JWT_PUBLIC_KEY"),
        (JwtKeys(public_key=pem(rsa_key()), algorithms=("RS256", "ES256")), "JWT_PUBLIC_KEY"),
        (JwtKeys(secret=SECRET, jwks_url=URL, algorithms=("RS256",)), "JWT_SECRET"),
    ],
)
def test_algorithms_and_keys_that_contradict_each_other_are_refused(keys: JwtKeys, setting: str) -> None:
    text = problem(keys)
    assert "JWT_ALGORITHMS" in text
    assert setting in text


def test_a_secret_must_be_as_long_as_its_hash_when_strict() -> None:
    assert "JWT_SECRET has 31 bytes; HS256 needs at least 32" in problem(JwtKeys(secret=SECRET[1:]))
    assert "needs at least 64" in problem(JwtKeys(secret=SECRET, algorithms=("HS256", "HS512")))
    build(JwtKeys(secret=SECRET))
    build(JwtKeys(secret="short"), strict=False)


@pytest.mark.parametrize("secret", ["", pem(rsa_key()), '{"kty":"oct","k":"c2VjcmV0"}', "\udc80" * 40])
def test_a_secret_that_is_empty_or_a_public_key_or_no_text_is_refused_always(secret: str) -> None:
    assert "JWT_SECRET" in problem(JwtKeys(secret=secret), strict=False)


def test_no_error_or_representation_shows_the_secret() -> None:
    keys = JwtKeys(secret="hush-hush", algorithms=("HS256", "RS256"))
    assert "hush" not in problem(keys) + problem(keys, strict=False) + repr(keys)


def test_a_public_key_must_be_public_and_in_pem_form() -> None:
    private = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text in (private, "", "not a key", SECRET):
        assert "JWT_PUBLIC_KEY" in problem(JwtKeys(public_key=text))


@pytest.mark.parametrize("key", [rsa_key(1024), ec.generate_private_key(ec.SECP256K1())])
def test_a_weak_or_odd_public_key_is_refused(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    assert "JWT_PUBLIC_KEY must be" in problem(JwtKeys(public_key=pem(key)))


@pytest.mark.parametrize(
    "url", ["", "idp.example/keys", "ftp://idp.example/keys", "file:///etc/keys", "https://", "https://idp:port/"]
)
def test_a_key_set_must_be_at_an_http_address(url: str) -> None:
    assert "JWT_JWKS_URL" in problem(JwtKeys(jwks_url=url))


def sources(keys: JwtKeys) -> list[frozenset[str]]:
    return [source.algorithms for source in build(keys).sources]


def test_each_kind_of_key_has_its_default_algorithms() -> None:
    assert sources(JwtKeys(secret=SECRET)) == [{"HS256"}]
    assert sources(JwtKeys(public_key=pem(rsa_key()))) == [{"RS256"}]
    assert sources(JwtKeys(public_key=pem(ec.generate_private_key(ec.SECP256R1())))) == [{"ES256"}]
    assert sources(JwtKeys(public_key=pem(ec.generate_private_key(ec.SECP384R1())))) == [{"ES384"}]
    assert sources(JwtKeys(public_key=pem(ed25519.Ed25519PrivateKey.generate()))) == [{"EdDSA"}]
    assert sources(JwtKeys(jwks_url=URL)) == [{"RS256", "ES256"}]


def test_several_keys_share_the_configured_algorithms_each_taking_only_its_own() -> None:
    keys = JwtKeys(secret=SECRET, public_key=pem(rsa_key()), jwks_url=URL, algorithms=("HS256", "PS256", "ES384"))
    assert sources(keys) == [{"HS256"}, {"PS256"}, {"PS256", "ES384"}]


def test_a_pem_key_may_have_its_line_ends_escaped_as_in_an_env_file() -> None:
    assert sources(JwtKeys(public_key=pem(rsa_key()).replace("\n", "\\n"))) == [{"RS256"}]
