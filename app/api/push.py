"""The push routes."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api.call import PushCall, PushRoute
from app.api.documentation import Body, documented, path_parameter
from app.api.idempotency import Answer
from app.api.intake import Intake, Push, parse_push
from app.api.problems import PUSH_ERRORS, problem_of, responses
from app.api.schemas import BatchResult, PushRequest, PushResult
from app.delivery.log import PushOutcome
from app.errors import InvalidMessage, PayloadTooLarge, ServiceError
from app.messages.names import canonical
from app.messages.receivers import LONGEST_RECEIVER

_NO_ANSWER = Answer({})
BATCH_SLICE = 100  # items that are under way at the same time, or pushed before the loop gets a turn

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
    """Sends the body to all sessions that are online now, on all nodes, at most once and without acknowledgement.

    A body of any content type is the text of the message; with a JSON content type it is the JSON value.
    """
    return await call.answer(partial(_push, call.intake, Push(None, call.content())))


@router.post(
    "/push_all_obj/{receiver:path}",
    summary="Push to one user",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_RECEIVER),
)
async def push_to_user(call: PushCall) -> Response:
    """Sends the body to every session of one user, again and again until each has acknowledged it.

    If the user is away the message waits in the inbox until he comes, or expires.
    """
    return await call.answer(partial(_push, call.intake, Push(call.parameter("receiver"), call.content())))


@router.post(
    "/cluster/notify/{receiver:path}",
    summary="Store a message for one user, and push it",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_RECEIVER),
)
async def store_and_push(call: PushCall) -> Response:
    """As the push to one user, but in the database before it is sent: it is in the history, and survives a restart."""
    push = Push(call.parameter("receiver"), call.content(), persist=True)
    return await call.answer(partial(_push, call.intake, push))


@router.post(
    "/push_msg",
    summary="Push one message",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(_MESSAGE),
)
async def push_message(call: PushCall) -> Response:
    """The push that all others are cases of. `receiver: null` is a broadcast.

    A push with an `id` that was pushed before sends nothing: the same content is answered as the first time, with the
    header `Idempotency-Replay: true`; other content is refused with 422.
    """
    return await call.answer(partial(_push, call.intake, parse_push(call.value())))


@router.post(
    "/push_batch",
    summary="Push many messages",
    response_model=BatchResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(_BATCH),
)
async def push_batch(call: PushCall) -> Response:
    """Pushes the items in their order. Each has a result of its own: a bad item never stops the good ones."""
    limit, value = call.runtime.push.max_batch_items, call.value()
    if not isinstance(value, list):
        raise InvalidMessage("the body is not a JSON array of messages")
    if len(value) > limit:
        raise PayloadTooLarge(f"the batch has {len(value)} items, at most {limit} are allowed")
    return await call.answer(partial(_push_all, call.intake, value))


@router.post(
    "/push_topic/{topic:path}",
    summary="Push to the subscribers of a topic",
    response_model=PushResult,
    responses=responses(*PUSH_ERRORS),
    openapi_extra=documented(*_CONTENT, path=_TOPIC),
)
async def push_topic(call: PushCall) -> Response:
    """Sends the body to all who listen to `/topic/{topic}` now, on all nodes, at most once."""
    return await call.answer(partial(_push_topic, call.intake, call.parameter("topic"), call.content()))


async def _push(intake: Intake, request: Push | PushRequest) -> Answer:
    outcome = await intake.push(request)
    return Answer(_result(outcome), outcome.replayed)


async def _push_topic(intake: Intake, topic: str, content: Any) -> Answer:
    outcome = await intake.push_topic(topic, content)
    return Answer(_result(outcome), outcome.replayed)


async def _push_all(intake: Intake, items: Sequence[Any]) -> Answer:
    answers: list[Answer] = [_NO_ANSWER] * len(items)
    pushing = partial(_push_item, intake, items)
    for stored, wave in _waves(items, by_receiver(items)):
        if stored or intake.waits:  # each starts in its turn, and so they are committed, accepted and pushed
            for number, answer in zip(wave, await asyncio.gather(*map(pushing, wave)), strict=True):
                answers[number] = answer
        else:
            for number in wave:
                answers[number] = await pushing(number)
            await asyncio.sleep(0)
    return Answer({"results": [answer.value for answer in answers]}, final=all(answer.final for answer in answers))


def by_receiver(items: Sequence[Any]) -> Sequence[int]:
    """The numbers of the items, those of one receiver together: what a session gets at once travels in one write.

    A receiver sees no difference: the order of his messages stays, and no broadcast is passed. Where an id comes twice
    the first has to win, and nothing is moved.
    """
    ids = [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
    if len(set(ids)) < len(ids):
        return range(len(items))
    order: list[int] = []
    gathered: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        receiver = item.get("receiver") if isinstance(item, dict) else None
        if isinstance(receiver, str):
            gathered.setdefault(canonical(receiver[:LONGEST_RECEIVER]), []).append(number)
        else:
            order += [*chain.from_iterable(gathered.values()), number]
            gathered.clear()
    return [*order, *chain.from_iterable(gathered.values())]


def _waves(items: Sequence[Any], order: Sequence[int]) -> Iterator[tuple[bool, Sequence[int]]]:
    """Neighbours that can be under way at the same time: all stored or none, and no id twice."""
    wave: list[int] = []
    ids: set[str] = set()
    are_stored = False
    for number in order:
        item = items[number]
        stored, given = (item.get("persist") is True, item.get("id")) if isinstance(item, dict) else (False, None)
        is_full = len(wave) >= BATCH_SLICE and not stored
        if wave and (is_full or stored is not are_stored or (isinstance(given, str) and given in ids)):
            yield are_stored, wave
            wave, ids = [], set()
        are_stored = stored
        wave.append(number)
        if isinstance(given, str):
            ids.add(given)
    if wave:
        yield are_stored, wave


async def _push_item(intake: Intake, items: Sequence[Any], number: int) -> Answer:
    try:
        return Answer(_result(await intake.push(parse_push(items[number]), number)))
    except ServiceError as error:
        return Answer({"error": problem_of(error)}, final=error.is_final)


def _result(outcome: PushOutcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": outcome.id,
        "receiver": outcome.receiver,
        "status": outcome.status,
        "sessions": outcome.sessions,
    }
    if outcome.unreached:
        result["unreached"] = outcome.unreached
    return result
