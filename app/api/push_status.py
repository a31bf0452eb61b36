"""What became of a push."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path

from app.api.dependencies import PushAccess, RuntimeDep
from app.api.problems import QUERY_ERRORS, responses
from app.api.schemas import PushStatus
from app.errors import NotFound, Unavailable
from app.messages.ids import message_id_problem

router = APIRouter(prefix="/vh-stomp-wsend", tags=["Push"])


@router.get(
    "/push_status/{message_id}",
    summary="What became of a push",
    responses=responses(*QUERY_ERRORS, Unavailable),
    dependencies=[PushAccess],
)
async def push_status(
    message_id: Annotated[str, Path(description="the `id` that the push was answered with")],
    runtime: RuntimeDep,
) -> PushStatus:
    """Whether it is stored, sent, delivered (acknowledged by a device) or expired, and how each session took it.

    Each node remembers its latest deliveries (DELIVERY_LOG_SIZE) and is asked; what was persisted is in the database
    after that. `unanswered` are nodes that did not answer within half a second.
    """
    known, unanswered = await runtime.directory.status(message_id)
    if known is not None:
        return PushStatus(**known, unanswered=unanswered)
    row = await runtime.notify.find(message_id) if message_id_problem(message_id) is None else None
    if row is not None:
        status: Literal["delivered", "stored"] = "stored" if row.delivered_at is None else "delivered"
        return PushStatus(
            id=row.id, receiver=row.receiver, type=row.type, created=row.created, status=status, unanswered=unanswered
        )
    if unanswered:
        raise Unavailable(f"nodes that may know the push do not answer: {', '.join(unanswered)}", retry_after_s=1)
    raise NotFound(f"no push of the id {message_id[:64]!r} is remembered")
