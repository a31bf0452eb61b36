"""The content of a push request: JSON, or text in one of the charsets."""

import json
from functools import lru_cache
from typing import Any

from pydantic_core import from_json

from app.api.charsets import CHARSETS, find_charset
from app.errors import InvalidMessage, UnsupportedMedia

_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_MAY_OVERFLOW = (b"0e0", b"0e+0", b"0" * 309)  # in the shape of a text: every digit a 0, every exponent an e


def parse_json(body: bytes) -> Any:
    """Raises InvalidMessage; NaN, Infinity and lone surrogates are no JSON, and 1e400 could only go out as Infinity."""
    try:
        value = from_json(body, allow_inf_nan=False)
        shape = body.translate(_SHAPE)  # and no regular expression, which would take ten times as long as the parser
        if any(sign in shape for sign in _MAY_OVERFLOW):
            json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise InvalidMessage(f"the body is not valid JSON: {error}") from None
    return value


def parse_content(body: bytes, content_type: str) -> Any:
    """Return the JSON value of a JSON body, and the text of any other; a text is UTF-8 if it says nothing else.

    Raises InvalidMessage and UnsupportedMedia.
    """
    if not body:
        raise InvalidMessage("the body is empty: the text or the JSON value to push was expected")
    is_json, named, charset = _read_content_type(content_type)
    if is_json:
        return parse_json(body)
    if charset is None:
        raise UnsupportedMedia(f"charset is {named[:32]!r}, one of {', '.join(CHARSETS)} was expected")
    try:
        text = body.decode(charset)
    except ValueError:
        raise InvalidMessage(f"the body is not valid {charset}") from None
    return text


@lru_cache(maxsize=64)
def _read_content_type(content_type: str) -> tuple[bool, str, str | None]:
    """Return whether it is JSON, the charset as it is named, and the supported charset of that name."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    named = _parameter(parameters, "charset") or "utf-8"
    return is_json, named, find_charset(named)


def _parameter(parameters: str, name: str) -> str | None:
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return None
