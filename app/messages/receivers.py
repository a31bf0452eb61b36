"""Which strings may name a user: one rule for the user of a token and for the receiver of a push."""

import re

MAX_RECEIVER_CHARS = 128

_PLAIN = re.compile(rf"[!-.0-~]{{1,{MAX_RECEIVER_CHARS}}}")  # what nearly all are: ASCII without "/" and space
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # C0 with NUL, DEL, C1
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def receiver_problem(value: str, noun: str = "receiver") -> str | None:
    """Say what forbids `value` as a user id, or return None if nothing does.

    The answer is a sentence without a full stop that starts with `noun`: "receiver must not contain '/'". It never
    quotes the value, because a value can be a token (in dev) and can hold characters that break a log line.
    Lengths are counted in Unicode code points.
    """
    if _PLAIN.fullmatch(value):
        return None
    problem = _problem(value)
    return problem and f"{noun} {problem}"


def _problem(value: str) -> str | None:
    if not value:
        return "must not be empty"
    if len(value) > MAX_RECEIVER_CHARS:
        return f"must not be longer than {MAX_RECEIVER_CHARS} characters"
    # A user id is one segment of /user/<id>/queue/… and of the REST paths.
    if "/" in value:
        return "must not contain '/'"
    if _CONTROL.search(value):
        return "must not contain control characters"
    # A lone surrogate has no UTF-8 form: it could be neither sent nor stored.
    if _SURROGATE.search(value):
        return "must not contain lone surrogates"
    if value != value.strip():
        return "must not start or end with white space"
    return None
