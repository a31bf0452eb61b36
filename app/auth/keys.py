"""Keys that verify tokens, and the port that they come from.

The algorithm belongs to the key, not to the token (RFC 8725 section 3.1): a secret is known to HMAC alone and a public
key never to HMAC, so a token signed with the public key as if it were a secret meets no code that would try it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidSignatureError, PyJWS
from jwt.algorithms import HMACAlgorithm

HMAC_HASHES = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}
# RFC 7518 section 3.4: each ES algorithm has one curve.
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MIN_RSA_BITS = 2048

SYMMETRIC = frozenset(HMAC_HASHES)
ASYMMETRIC = _RSA_ALGORITHMS | frozenset(_EC_ALGORITHMS.values()) | {"EdDSA"}

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A shared secret; its maker has checked its length. `algorithms` is a part of `SYMMETRIC`."""

    value: bytes
    algorithms: frozenset[str]
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, made by `verifying_key`. `algorithms` is a part of what it can verify."""

    value: PublicKey
    algorithms: frozenset[str]
    kid: str | None = None

    def only_for(self, algorithms: frozenset[str]) -> "VerifyingKey":
        return replace(self, algorithms=self.algorithms & algorithms)


Key = SecretKey | VerifyingKey


class KeySource(Protocol):
    """The port for a source of keys. It is asked only for its `algorithms`."""

    @property
    def algorithms(self) -> frozenset[str]: ...

    async def keys_for(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """Return the keys that may have signed a token with this header, none if there are none.

        Raises `Unavailable` when they cannot be known now.
        """

    async def aclose(self) -> None: ...


class StaticKeys:
    """Keys from the configuration; the `kid` of a token does not matter to them."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        self.algorithms = frozenset[str]().union(*(key.algorithms for key in keys))

    async def keys_for(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        return [key for key in self._keys if algorithm in key.algorithms]

    async def aclose(self) -> None:
        pass


def verifying_key(value: object, kid: str | None = None) -> VerifyingKey | None:
    """Return `value` with all that it can verify; None for a weak RSA key, an odd curve or no public key at all."""
    if isinstance(value, RSAPublicKey) and value.key_size >= _MIN_RSA_BITS:
        return VerifyingKey(value, _RSA_ALGORITHMS, kid)
    if isinstance(value, EllipticCurvePublicKey) and value.curve.name in _EC_ALGORITHMS:
        return VerifyingKey(value, frozenset({_EC_ALGORITHMS[value.curve.name]}), kid)
    if isinstance(value, Ed25519PublicKey | Ed448PublicKey):
        return VerifyingKey(value, frozenset({"EdDSA"}), kid)
    return None


class Signatures:
    """Verifies tokens with two engines that know nothing of each other's algorithms."""

    def __init__(self) -> None:
        self._hmac = hmac_jws()
        self._public = PyJWS(algorithms=sorted(ASYMMETRIC))

    def unverified_header(self, token: str) -> dict[str, object]:
        """Return the JOSE header, which anyone may have written. Raises `jwt.PyJWTError` for what is not a token."""
        return self._public.get_unverified_header(token)

    def payload(self, token: str, key: Key, algorithm: str) -> bytes | None:
        """Return what `key` signed, or None if it did not. Raises `jwt.PyJWTError` for what is not a token."""
        engine = self._hmac if isinstance(key, SecretKey) else self._public
        allowed = sorted(key.algorithms & {algorithm})
        try:
            decoded = engine.decode_complete(token, key=key.value, algorithms=allowed)
        except InvalidSignatureError:
            return None
        payload: bytes = decoded["payload"]
        return payload


def hmac_jws() -> PyJWS:
    """Return an engine that knows HS256, HS384 and HS512 and takes secrets of any length without a warning."""
    engine = PyJWS(algorithms=())
    for name, hash_ in HMAC_HASHES.items():
        engine.register_algorithm(name, _HmacOfAnyLength(hash_))
    return engine


class _HmacOfAnyLength(HMACAlgorithm):
    # The length of the secret is judged once, at the start, instead of with a Python warning for each token.
    def check_key_length(self, key: bytes) -> None:
        return None
