"""API keys of the back ends that push."""

import hashlib
import hmac
from collections.abc import Iterable

from app.errors import ConfigurationError

GUESSABLE_BELOW_CHARS = 16


class ApiKeys:
    """The keys of the setting API_KEYS; false when there are none. Holds only their digests.

    Raises `ConfigurationError` for a key that is empty or not printable ASCII (a header value reaches the service as
    Latin-1, so such a key would never match).
    """

    def __init__(self, keys: Iterable[str]) -> None:
        checked = [_check(number, key) for number, key in enumerate(keys, start=1)]
        self._digests = tuple(_digest(key) for key in checked)
        self.guessable = [number for number, key in enumerate(checked, start=1) if len(key) < GUESSABLE_BELOW_CHARS]
        """The places, from 1 on, of keys that are too short for comfort."""

    def __bool__(self) -> bool:
        return bool(self._digests)

    def verify(self, candidate: str) -> bool:
        """Say whether `candidate` is one of the keys, in a time that tells neither which one nor how much fits."""
        digest = _digest(candidate)
        found = False
        for known in self._digests:
            # No `any`: it would stop at the first match.
            found |= hmac.compare_digest(digest, known)
        return found


def key_principal(key: str) -> str:
    """Name the caller with this API key, without the key."""
    return f"key:{_digest(key).hex()}"


def _check(number: int, key: str) -> str:
    """Refuse a key that cannot be used. The error gives its position in the list, never the key."""
    if not (key and key.isascii() and key.isprintable()):
        raise ConfigurationError(f"API_KEYS: key {number} is empty or has characters that are not printable ASCII")
    return key


def _digest(key: str) -> bytes:
    # Equal lengths for compare_digest; surrogatepass because a candidate can be any str.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
