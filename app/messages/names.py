"""What user ids and topics have in common: which characters a name may have, and which of its spellings counts.

Every problem is the end of a sentence, without a full stop and without the value: a value can be a token (in dev) and
can hold characters that break a log line. A character is named by its code point, with its position in the text as it
was given, from 1 on.
"""

import re
from unicodedata import normalize

# A character of NFC comes from at most four others. A longer text stays too long, and is not worth normalising.
MOST_PER_CHARACTER = 4

_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffd]"
)
_LINE_BREAKS = "\n\v\f\r\x85\u2028\u2029"


def canonical(name: str) -> str:
    """Return the one spelling of a name (Unicode NFC): an "é" is one character, however it was typed."""
    return name if name.isascii() else normalize("NFC", name)


def length_problem(name: str, limit: int) -> str | None:
    """Say whether a name is empty or has more than `limit` characters in its one spelling."""
    if not name:
        return "must not be empty"
    if len(name) > MOST_PER_CHARACTER * limit or len(canonical(name)) > limit:
        return f"must not be longer than {limit} characters"
    return None


def character_problem(name: str) -> str | None:
    """Name the first character that no name may have."""
    found = _FORBIDDEN.search(name)
    return found and contains(found[0], found.start(), _kind_of(found[0]))


def segment_problem(segment: str, start: int = 0) -> str | None:
    """Say what forbids a segment of a path; it begins at the offset `start` of its name."""
    if segment in (".", ".."):
        return f"must not have the path segment '{segment}' at position {start + 1}: clients remove it from URLs"
    if segment != segment.strip():
        at = len(segment) - 1 if segment[0] == segment.lstrip()[:1] else 0
        return f"must not start or end with white space, as U+{ord(segment[at]):04X} at position {start + at + 1}"
    return None


def contains(character: str, offset: int, kind: str) -> str:
    return f"must not contain U+{ord(character):04X} ({kind}) at position {offset + 1}"


def _kind_of(character: str) -> str:
    if character in _LINE_BREAKS:
        return "a line break"
    if character < "\xa0":
        return "a control character"
    if "\ud800" <= character <= "\udfff":
        return "a lone surrogate"
    return "which stands for invalid UTF-8" if character == "\ufffd" else "a control of text direction"
