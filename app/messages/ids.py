"""Message ids: generated, chosen by the caller, or derived from the caller's Idempotency-Key."""

import hashlib
import random
import re
from collections.abc import Callable

from app.timing.clock import Clock

MESSAGE_ID_PREFIX = "ntf_"
DERIVED_ID_PREFIX = "ntk_"
MESSAGE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,63}$"
_MESSAGE_ID = re.compile(MESSAGE_ID_PATTERN)
_MAX_COUNT = 0xFFFFF  # the five digits of an id
_DERIVED_DIGITS = 40


def is_message_id(text: str) -> bool:
    return _MESSAGE_ID.fullmatch(text) is not None


def message_id_problem(value: str) -> str | None:
    """Return what is wrong with a caller's id, as a sentence, or None.

    The alphabet keeps ids unescaped in every STOMP version, free of the "/" of ack ids and fit for URLs.
    """
    if is_message_id(value):
        return None
    return "an id has 1 to 64 characters: letters, digits and _ . : - with a letter or digit first"


def given_id_problem(value: str) -> str | None:
    """Return what is wrong with an id for a push. Ids that look derived from a key are refused, too."""
    if value.startswith(DERIVED_ID_PREFIX):
        return f"an id must not start with {DERIVED_ID_PREFIX}: these ids are derived from Idempotency-Keys"
    return message_id_problem(value)


def derived_id(caller: str, key: str, item: int) -> str:
    """Return the id of a message that `caller` pushes with the Idempotency-Key `key`: the same for every attempt.

    `item` is the place of the message in its batch, 0 for a single push.
    """
    digest = hashlib.sha256(b"stomp-notify/id/1")
    for text in (caller, key):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    digest.update(b"%d" % item)
    return DERIVED_ID_PREFIX + digest.hexdigest()[:_DERIVED_DIGITS]


def id_factory(clock: Clock, source: random.Random | None = None) -> Callable[[], str]:
    """Return a maker of ids of 36 characters that sort by time of creation, strictly so within a process."""
    rng = source or random.Random(random.SystemRandom().getrandbits(64))  # unique, not secret
    last_ms, count = 0, 0

    def new_id() -> str:
        nonlocal last_ms, count
        now_ms = clock.epoch_ms()
        if now_ms > last_ms:
            last_ms, count = now_ms, 0
        elif count < _MAX_COUNT:
            count += 1
        else:  # the clock was set back long ago, and its time stands still here
            last_ms, count = last_ms + 1, 0
        number = (last_ms << 20 | count) << 64 | rng.getrandbits(64)
        return MESSAGE_ID_PREFIX + number.to_bytes(16, "big").hex()

    return new_id
