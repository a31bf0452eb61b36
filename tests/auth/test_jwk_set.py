import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.auth.jwk_set import InvalidKeySet, parse_key_set


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def rsa_entry(**fields: object) -> dict[str, Any]:
    entry = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    del entry["key_ops"]
    return {**entry, "kid": "r", **fields}


def ec_entry(curve: ec.EllipticCurve) -> dict[str, Any]:
    return ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key(), as_dict=True)


def parse(*entries: object, max_keys: int = 100) -> list[tuple[str | None, set[str]]]:
    keys = parse_key_set(json.dumps({"keys": entries}).encode(), max_keys=max_keys)
    return [(key.kid, set(key.algorithms)) for key in keys]


GOOD: dict[str, Any] = {**ec_entry(ec.SECP256R1()), "kid": "good"}


def test_the_type_and_curve_of_a_key_decide_what_it_verifies() -> None:
    okp = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    entries = [rsa_entry(), ec_entry(ec.SECP256R1()), ec_entry(ec.SECP384R1()), ec_entry(ec.SECP521R1()), okp]
    assert parse(*entries) == [
        ("r", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (None, {"ES256"}),
        (None, {"ES384"}),
        (None, {"ES512"}),
        (None, {"EdDSA"}),
    ]


def test_the_alg_of_a_key_narrows_what_it_verifies() -> None:
    assert parse(rsa_entry(alg="RS512")) == [("r", {"RS512"})]


@pytest.mark.parametrize(
    "fields", [{"use": "sig"}, {"key_ops": ["verify"]}, {"x5t": "…", "use": "sig", "alg": "RS256"}]
)
def test_a_key_for_signatures_is_used(fields: dict[str, object]) -> None:
    assert len(parse(rsa_entry(**fields))) == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256", "use": "sig"},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "RS256"},
        rsa_entry(use="enc"),
        rsa_entry(key_ops=["encrypt"]),
        rsa_entry(key_ops="verify"),
        rsa_entry(alg="HS256"),
        rsa_entry(alg="none"),
        rsa_entry(alg="RSA-OAEP"),
        rsa_entry(kty="EC"),
        rsa_entry(kty=["RSA"]),
        rsa_entry(n=7),
        rsa_entry(n="!"),
        rsa_entry(e="AA"),
        RSAAlgorithm.to_jwk(rsa_key(), as_dict=True) | {"key_ops": ["verify"]},
        ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True),
        RSAAlgorithm.to_jwk(rsa_key(1024).public_key(), as_dict=True),
        ec_entry(ec.SECP256K1()),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {},
        None,
        "key",
    ],
)
def test_a_key_that_must_not_verify_tokens_is_ignored(entry: object) -> None:
    assert parse(entry, GOOD) == [("good", {"ES256"})]


def test_a_key_id_that_is_no_string_is_no_key_id() -> None:
    assert parse(GOOD | {"kid": 7}) == [(None, {"ES256"})]


def test_no_more_than_the_allowed_number_of_keys_is_used() -> None:
    entries = [GOOD | {"kid": str(n)} for n in range(5)]
    assert [kid for kid, _ in parse({}, *entries, max_keys=3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[{}]}']
)
def test_a_set_without_a_usable_key_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_key_set(body, max_keys=100)
