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
    """Return the value of a JSON text.

    Raises InvalidMessage, also for NaN, Infinity, lone surrogates, and numbers such as 1e400 that overflow to Infinity.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
        shape = body.translate(_SHAPE)  # a regular expression would take ten times as long as the parser
        if any(sign in shape for sign in _MAY_OVERFLOW):
            json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise InvalidMessage(f"the body is not valid JSON: {error}") from None
    return value


def parse_content(body: bytes, content_type: str) -> Any:
    """Return the JSON value of a JSON body, and the text of any other. The default charset is UTF-8.

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
    """Return whether the type is JSON, the charset as named, and the preferred name of it; None if not supported."""
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
