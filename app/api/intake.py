"""From what a request says to a message that can be sent. All checks of a push are here."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from app.api.charsets import CHARSETS, find_charset
from app.api.schemas import PushRequest
from app.delivery.delivery import Delivery
from app.delivery.log import PushOutcome
from app.errors import InvalidMessage, UnsupportedMedia
from app.messages.destinations import TOPIC_PREFIX
from app.messages.ids import given_id_problem
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.messages.receivers import receiver_name
from app.messages.topics import topic_name
from app.messages.types import STRING_MSG
from app.runtime.runtime import Runtime

_read_push = PushRequest.__pydantic_validator__.validate_python  # what model_validate calls, in half the time
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


@dataclass(slots=True)
class Push:
    """What is to be pushed: a PushRequest of which nothing has to be validated."""

    receiver: str | None
    data: Any
    type: str = STRING_MSG
    id: str | None = None
    ttl_ms: int | None = None
    persist: bool = False
    ack: bool = True


def parse_push(value: Any) -> PushRequest:
    try:
        request: PushRequest = _read_push(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        errors: list[dict[str, object]] = [{"loc": ["body", *item["loc"]], "msg": item["msg"]} for item in details]
        where = ".".join(map(str, details[0]["loc"])) or "the body"
        raise InvalidMessage(f"{where}: {details[0]['msg']}", errors=errors) from None
    return request


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


class Intake:
    """`derived_id` returns the id for a message without one, by its place in the batch, or None to make a new one."""

    def __init__(self, runtime: Runtime, derived_id: Callable[[int], str | None]) -> None:
        self._runtime = runtime
        self._derived_id = derived_id
        self._delivery: Delivery = runtime.delivery
        self.waits = runtime.backplane.cluster is not None
        """Whether a push waits for an answer from elsewhere, so that several should be under way at once."""

    async def push(self, request: Push | PushRequest, item: int = 0) -> PushOutcome:
        """To one user, or to all if there is no receiver. Raises ServiceError."""
        message_id = self._known_id(request.id, item)
        if request.receiver is None:
            if request.persist:
                raise InvalidMessage("persist: a broadcast is not stored", errors=_at_persist)
            message = self._message(request, None, message_id)
            return await self._delivery.broadcast(message, given_id=message_id is not None)
        message = self._message(request, receiver_name(request.receiver), message_id)
        if request.persist:
            return await self._runtime.notify.save_and_publish(message)
        expires_ms = message.created + self._ttl_ms(request.ttl_ms)
        encoder, message.data = MessageEncoder(message), None  # as `without_data`; nobody else has the message yet
        envelope = Envelope(message, encoder, expires_ms, request.ack)
        return await self._delivery.push(envelope, given_id=message_id is not None)

    async def push_topic(self, topic: str, data: Any) -> PushOutcome:
        """To the subscribers of `/topic/<topic>`. Raises ServiceError."""
        destination = TOPIC_PREFIX + topic_name(topic)
        message_id = self._known_id(None, 0)
        message = self._message(Push(None, data), None, message_id)
        return await self._delivery.broadcast(message, destination, given_id=message_id is not None)

    def _known_id(self, given: str | None, item: int) -> str | None:
        """Return the id that all attempts at this push share, or None if the caller gave neither an id nor a key."""
        if given is None:
            return self._derived_id(item)
        if problem := given_id_problem(given):
            raise InvalidMessage(problem, errors=[{"loc": ["id"], "msg": problem}])
        return given

    def _message(self, request: Push | PushRequest, receiver: str | None, message_id: str | None) -> NotifyMessage:
        self._runtime.types.check(request.type, request.data)
        created = self._runtime.clock.epoch_ms()
        return NotifyMessage(
            message_id or self._delivery.new_id(), request.type, receiver, request.data, False, created
        )

    def _ttl_ms(self, wanted: int | None) -> int:
        limits = self._runtime.push
        if wanted is None:
            return limits.ttl_ms
        if wanted > limits.max_ttl_ms:
            problem = f"ttl_ms is {wanted}, at most {limits.max_ttl_ms} is allowed"
            raise InvalidMessage(problem, errors=[{"loc": ["ttl_ms"], "msg": problem}])
        return wanted


_at_persist: tuple[dict[str, object], ...] = ({"loc": ["persist"], "msg": "must be false for a broadcast"},)
