"""The push routes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api.call import PushCall, PushRoute
from app.api.documentation import Body, documented, path_parameter
from app.api.idempotency import Answer
from app.api.problems import PUSH_ERRORS, problem_of, responses
from app.api.schemas import BatchResult, PushResult
from app.delivery.log import PushOutcome
from app.errors import InvalidMessage, PayloadTooLarge, ServiceError
from app.push.request import PushRequest, read_push

router = APIRouter(prefix="/vh-stomp-wsend", tags=["Push"], route_class=PushRoute)

_PUSH_SCHEMA = PushRequest.model_json_schema()
_PUSH_EXAMPLE = _PUSH_SCHEMA["example"]
_RECEIVER = path_parameter("receiver", "user id of the receiver: one path segment, percent-encoded once", "test1")
_TOPIC = path_parameter("topic", "what follows `/topic/`: an exact name, without wildcards", "messages")
_CONTENT: tuple[Body, Body] = (
    ("text/plain", {"type": "string"}, "hello"),
    ("application/json", {}, {"order": 4711, "state": "shipped"}),
)
_MESSAGE = ("application/json", _PUSH_SCHEMA, _PUSH_EXAMPLE)
_BATCH = (
    "application/json",
    {"type": "array", "items": _PUSH_SCHEMA},
    [_PUSH_EXAMPLE, {"receiver": "test2", "type": "STRING_MSG", "data": "hello"}],
)


@router.post(
    "/push_all_obj",
    summary="Broadcast to everybody who is online",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT),
)
async def push_to_all(call: PushCall) -> Response:
    """Send the body to all sessions that are online now, on all nodes, at most once and without acknowledgement.

    With a JSON content type the message is the JSON value of the body, with any other its text.
    """
    return await _push(call, {"receiver": None, "data": call.content()})


@router.post(
    "/push_all_obj/{receiver:path}",
    summary="Push to one user",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_RECEIVER),
)
async def push_to_user(call: PushCall) -> Response:
    """Send the body to every session of one user, and resend it until each session has acknowledged it.

    If the user is offline, the message waits in the inbox until one of their sessions subscribes, or until it expires.
    """
    return await _push(call, {"receiver": call.parameter("receiver"), "data": call.content()})


@router.post(
    "/cluster/notify/{receiver:path}",
    summary="Store a message for one user, and push it",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_RECEIVER),
)
async def store_and_push(call: PushCall) -> Response:
    """Push to one user as above, but store the message in the database first.

    The message then appears in the user's history and survives a restart.
    """
    return await _push(call, {"receiver": call.parameter("receiver"), "data": call.content(), "persist": True})


@router.post(
    "/push_msg",
    summary="Push one message",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(_MESSAGE),
)
async def push_message(call: PushCall) -> Response:
    """Push one message with all its options. The other push routes are special cases. `receiver: null` broadcasts.

    A push with an `id` that was pushed before sends nothing. With the same content the first result is returned again,
    with the header `Idempotency-Replay: true`; with other content the push is refused with 422.
    """
    return await _push(call, call.value())


@router.post(
    "/push_batch",
    summary="Push many messages",
    response_model=BatchResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(_BATCH),
)
async def push_batch(call: PushCall) -> Response:
    """Push the items in order. Each item has its own result: an invalid item does not stop the others."""
    limit, value = call.runtime.api_limits.max_batch_items, call.value()
    if not isinstance(value, list):
        raise InvalidMessage("the body is not a JSON array: an array of messages was expected")
    if len(value) > limit:
        raise PayloadTooLarge(f"the batch has {len(value)} items, at most {limit} are allowed")
    return await call.answer(partial(_push_all, call, value))


@router.post(
    "/push_topic/{topic:path}",
    summary="Push to the subscribers of a topic",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_TOPIC),
)
async def push_topic(call: PushCall) -> Response:
    """Send the body to all sessions that are subscribed to `/topic/{topic}` now, on all nodes, at most once."""
    topic, data = call.parameter("topic"), call.content()

    async def push() -> Answer:
        return _answer(await call.publisher.push_topic(topic, data, derived_id=call.derived_id(0)))

    return await call.answer(push)


def _answer(outcome: PushOutcome) -> Answer:
    result: dict[str, Any] = {
        "id": outcome.id,
        "receiver": outcome.receiver,
        "status": outcome.status,
        "sessions": outcome.sessions,
    }
    if outcome.unreached:
        result["unreached"] = outcome.unreached
    return Answer(result, outcome.replayed)


async def _push(call: PushCall, fields: Any) -> Response:
    """Validate a push with these fields, then push it. An invalid push does not use up its Idempotency-Key."""
    request = read_push(fields, within=("body",))

    async def push() -> Answer:
        return _answer(await call.publisher.publish(request, derived_id=call.derived_id(0)))

    return await call.answer(push)


async def _push_all(call: PushCall, items: Sequence[Any]) -> Answer:
    results = await call.publisher.publish_batch([_read(item) for item in items], call.derived_id)
    answers = [_item_answer(result) for result in results]
    return Answer({"results": [answer.value for answer in answers]}, final=all(answer.final for answer in answers))


def _read(item: Any) -> PushRequest | ServiceError:
    try:
        return read_push(item, within=("body",))
    except ServiceError as error:
        return error


def _item_answer(result: PushOutcome | ServiceError) -> Answer:
    if isinstance(result, ServiceError):
        return Answer({"error": problem_of(result)}, final=result.is_final)
    return _answer(result)
