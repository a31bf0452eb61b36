"""Reading a JSON Web Key Set (RFC 7517), pure."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice

from cryptography.exceptions import UnsupportedAlgorithm
from jwt import PyJWTError
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.auth.keys import VerifyingKey, verifying_key

# Not `oct`: a published secret is not a secret.
_KEY_TYPES: Mapping[object, type[Algorithm]] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}


class InvalidKeySet(Exception):
    """Raised for a response of an identity provider that cannot be used. The text says why."""


def parse_key_set(body: bytes, *, max_keys: int) -> tuple[VerifyingKey, ...]:
    """Return the first `max_keys` public signing keys of the set.

    Section 5: entries that are not understood "SHOULD" be ignored. Raises `InvalidKeySet` if none is left.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidKeySet("not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidKeySet("no list of keys")
    keys = tuple(islice(_usable_keys(entries), max_keys))
    if not keys:
        raise InvalidKeySet("no usable key")
    return keys


def _usable_keys(entries: list[object]) -> Iterator[VerifyingKey]:
    for entry in entries:
        key = _verifying_key(entry) if isinstance(entry, dict) and _is_for_signatures(entry) else None
        if key is not None and key.algorithms:
            yield key


def _is_for_signatures(entry: Mapping[str, object]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _verifying_key(entry: dict[str, object]) -> VerifyingKey | None:
    kty, kid = entry.get("kty"), entry.get("kid")
    key_type = _KEY_TYPES.get(kty) if isinstance(kty, str) else None
    if key_type is None:
        return None
    try:
        # A published private key is compromised.
        key = verifying_key(key_type.from_jwk(entry), kid if isinstance(kid, str) else None)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    algorithm = entry.get("alg")
    return key.only_for(frozenset({algorithm})) if key and isinstance(algorithm, str) else key
