"""The routes for a user's own messages: history, unread count, viewed, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from app.api.dependencies import BodyDep, RuntimeDep, UserDep
from app.api.problems import USER_ERRORS, responses
from app.errors import InvalidMessage, PayloadTooLarge, UnsupportedMedia
from app.messages.ids import MESSAGE_ID_PATTERN, message_id_problem
from app.notifications.repository import Cursor
from app.notifications.tables import NotifyLog

MAX_IDS = 1_000
MAX_CREATED = 2**63 - 1

router = APIRouter(prefix="/api/notify", tags=["Notifications"], responses=responses(*USER_ERRORS))


class StoredMessage(BaseModel):
    """A message in the form in which sessions receive it. Times are ms since 1970."""

    id: str
    type: str
    receiver: str
    data: Any
    viewed: bool
    created: int
    ack_retry_count: int
    ack_last_sent: int | None


class History(BaseModel):
    items: list[StoredMessage] = Field(description="newest first")
    next: str | None = Field(
        description="`created` for the next page; null on the last", examples=["1700000000000_ntf_018f2a6b3c40"]
    )


class Unread(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"unread": 3}})

    unread: int


MessageId = Annotated[str, Field(pattern=MESSAGE_ID_PATTERN)]


class MessageIds(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"ids": ["ntf_018f2a6b3c40"]}})

    ids: list[MessageId] = Field(min_length=1, max_length=MAX_IDS)


class Changed(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"updated": 1, "unread": 2}})

    updated: int = Field(description="messages that this request changed")
    unread: int = Field(description="unread messages that remain")


async def get_ids(body: BodyDep) -> list[str]:
    """Return the ids in the body. FastAPI itself would read a body of any size. Raises RequestValidationError."""
    try:
        return MessageIds.model_validate_json(body).ids
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from None


IdsDep = Annotated[list[str], Depends(get_ids)]
CreatedQuery = Annotated[
    str | None, Query(description="only older messages: ms since 1970, or `next` of the last page", max_length=100)
]
PageNum = Annotated[int, Query(description="page to return, counted from 1 at `created`", ge=1, le=10_000)]
PageSize = Annotated[int, Query(description="messages of a page, at most HISTORY_PAGE_MAX", ge=1)]

_IDS: Any = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": MessageIds.model_json_schema()}},
        }
    },
    "responses": responses(PayloadTooLarge, UnsupportedMedia),
}


@router.get("/history", summary="Read my messages", response_model=History)
async def history(
    user: UserDep,
    runtime: RuntimeDep,
    created: CreatedQuery = None,
    page_num: PageNum = 1,
    page_size: PageSize = 20,
) -> Response:
    """Return the caller's messages, newest first. Pass `next` as `created`: new messages then shift no page."""
    limit = min(page_size, runtime.api_limits.history_page_max)
    rows, following = await runtime.history.page(
        user, before=_place(created), offset=(page_num - 1) * limit, limit=limit
    )
    page = {"items": [_stored(row) for row in rows], "next": None if following is None else str(following)}
    return Response(to_json(page), media_type="application/json")


@router.get("/unread_count", summary="Count my unread messages")
async def unread_count(user: UserDep, runtime: RuntimeDep) -> Unread:
    """Return how many of the caller's messages have not been viewed."""
    return Unread(unread=await runtime.history.unread_count(user))


@router.post("/viewed", summary="Mark messages as read", **_IDS)
async def mark_viewed(user: UserDep, runtime: RuntimeDep, ids: IdsDep) -> Changed:
    """Mark messages of the caller as viewed, and send NOTIFY_VIEWED to all devices of the caller.

    Ids of messages of other users are ignored.
    """
    updated, unread = await runtime.history.mark_viewed(user, ids)
    return Changed(updated=updated, unread=unread)


@router.delete("/delete", summary="Delete messages", **_IDS)
async def delete(user: UserDep, runtime: RuntimeDep, ids: IdsDep) -> Changed:
    """Delete messages of the caller, and send NOTIFY_DELETED to all devices of the caller.

    Ids of messages of other users are ignored.
    """
    updated, unread = await runtime.history.delete(user, ids)
    return Changed(updated=updated, unread=unread)


def _place(created: str | None) -> Cursor | int | None:
    if created is None:
        return None
    time, _, message_id = created.partition("_")
    known = not message_id or message_id_problem(message_id) is None
    if not (known and time.isascii() and time.isdigit() and int(time) <= MAX_CREATED):
        problem = f"created is {created[:64]!r}, ms since 1970 or the `next` of a page was expected"
        raise InvalidMessage(problem, errors=[{"loc": ["query", "created"], "msg": problem}])
    return Cursor(int(time), message_id) if message_id else int(time)


def _stored(row: NotifyLog) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": row.type,
        "receiver": row.receiver,
        "data": row.data,
        "viewed": row.viewed,
        "created": row.created,
        "ack_retry_count": 0,
        "ack_last_sent": row.pushed_at,
    }
