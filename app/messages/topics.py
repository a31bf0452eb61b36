"""Which strings may name a topic: one rule for SUBSCRIBE, SEND and the pushes.

The name is what follows `/topic/`: segments with "/" between them, each of which obeys the rule of user ids.
"""

import re

from app.errors import InvalidMessage
from app.messages.destinations import TOPIC_PREFIX
from app.messages.names import canonical, character_problem, contains, length_problem, segment_problem

MAX_TOPIC_CHARS = 248  # 255 with the prefix

# What nearly all are: ASCII without space and wildcards.
_SEGMENT = r"(?!\.\.?(?:/|\Z))[!\"$-)+-.0-=?-~]+"
_has_plain_segments = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*").fullmatch
_WILDCARD = re.compile("[*#>]")  # of Spring, RabbitMQ and ActiveMQ


def topic_name(name: str) -> str:
    """Return the one spelling of the name of a topic. Raises InvalidMessage with the sentence of `name_problem`."""
    if len(name) <= MAX_TOPIC_CHARS and _has_plain_segments(name):
        return name
    if problem := name_problem(name):
        raise InvalidMessage(problem, errors=[{"loc": ["path", "topic"], "msg": problem}])
    return canonical(name)


def topic_destination(destination: str) -> str:
    """Return the one spelling of `/topic/<name>`. Raises InvalidMessage with the sentence of `topic_problem`."""
    if not destination.startswith(TOPIC_PREFIX):
        raise InvalidMessage(_FORM)
    return TOPIC_PREFIX + topic_name(destination[len(TOPIC_PREFIX) :])


def topic_problem(destination: str) -> str | None:
    """Say what forbids the topic `/topic/<name>`, or return None if nothing does."""
    return name_problem(destination[len(TOPIC_PREFIX) :]) if destination.startswith(TOPIC_PREFIX) else _FORM


def name_problem(name: str) -> str | None:
    """Say what forbids `name` as a topic. Positions are those in the name, without the prefix."""
    if len(name) <= MAX_TOPIC_CHARS and _has_plain_segments(name):
        return None
    if name.startswith(TOPIC_PREFIX):
        return f"topic must not start with '{TOPIC_PREFIX}': leave the prefix out"
    problem = length_problem(name, MAX_TOPIC_CHARS) or character_problem(name) or _wildcard(name) or _segments(name)
    return problem and f"topic {problem}"


def _wildcard(name: str) -> str | None:
    found = _WILDCARD.search(name)
    if found is None or _WILDCARD.search(canonical(name)) is None:  # ">" may be the first half of a spelling of "≯"
        return None
    return contains(found[0], found.start(), "a wildcard") + ": exact topics only"


def _segments(name: str) -> str | None:
    start = 0
    for segment in name.split("/"):
        if not segment:
            return f"must not have an empty segment at position {start + 1}"
        if problem := segment_problem(segment, start):
            return problem
        start += len(segment) + 1
    return None


_FORM = f"a topic has the form {TOPIC_PREFIX}<name>"
