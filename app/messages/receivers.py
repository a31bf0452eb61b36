"""Which strings may name a user: one rule for the user of a token and for the receiver of a push."""

import re

from app.errors import InvalidMessage
from app.messages.names import (
    MOST_PER_CHARACTER,
    canonical,
    character_problem,
    contains,
    length_problem,
    segment_problem,
)

MAX_RECEIVER_CHARS = 128
LONGEST_RECEIVER = MOST_PER_CHARACTER * MAX_RECEIVER_CHARS  # of characters before they are composed

# What nearly all are: ASCII without "/" and space.
_is_plain = re.compile(rf"(?!\.\.?\Z)[!-.0-~]{{1,{MAX_RECEIVER_CHARS}}}").fullmatch


def receiver_name(value: str, noun: str = "receiver") -> str:
    """Return the one spelling of a user id. Raises InvalidMessage with the sentence of `receiver_problem`."""
    if _is_plain(value):
        return value
    if problem := receiver_problem(value, noun):
        raise InvalidMessage(problem, errors=[{"loc": [noun], "msg": problem}])
    return canonical(value)


def receiver_problem(value: str, noun: str = "receiver") -> str | None:
    """Say what forbids `value` as a user id, or return None if nothing does.

    The answer is a sentence without a full stop that starts with `noun`: "receiver must not be empty".
    """
    if _is_plain(value):
        return None
    problem = length_problem(value, MAX_RECEIVER_CHARS) or character_problem(value) or _segment_problem(value)
    return problem and f"{noun} {problem}"


def _segment_problem(value: str) -> str | None:
    """A user id is one segment of the paths of REST."""
    slash = value.find("/")
    return segment_problem(value) if slash < 0 else contains("/", slash, "a slash")
