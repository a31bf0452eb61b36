"""What became of a push."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.api.dependencies import PushAccess, RuntimeDep
from app.api.problems import QUERY_ERRORS, responses
from app.api.schemas import PushStatus
from app.errors import NotFound, Unavailable
from app.gateway.directory import Item
from app.messages.ids import message_id_problem
from app.runtime.runtime import Runtime

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

    Each node remembers its latest deliveries (DELIVERY_LOG_SIZE) and is asked. Redis remembers acknowledgements for
    ACK_REMEMBER_MS, the database those of persisted messages for as long as it has them. `unanswered` are nodes that
    did not answer within half a second.
    """
    known, unanswered = await runtime.directory.status(message_id)
    if message_id_problem(message_id) is None and (known is None or (known["persisted"] and _is_open(known))):
        known = await _with_database(known, message_id, runtime)
    if known is not None:
        return PushStatus(**{name: known[name] for name in known if name != "persisted"}, unanswered=unanswered)
    if unanswered:
        raise Unavailable(f"nodes that may know the push do not answer: {', '.join(unanswered)}", retry_after_s=1)
    raise NotFound(f"no push of the id {message_id[:64]!r} is remembered")


def _is_open(known: Item) -> bool:
    return bool(known["status"] != "delivered")


async def _with_database(known: Item | None, message_id: str, runtime: Runtime) -> Item | None:
    """Add what the database knows of a push. Raises Unavailable if nothing else does."""
    try:
        row = await runtime.notify.find(message_id)
    except Unavailable:
        if known is None:
            raise
        return known
    if row is None:
        return known
    known = known or {"id": row.id, "receiver": row.receiver, "type": row.type, "created": row.created}
    if row.delivered_at is not None or await runtime.directory.is_acknowledged(row.receiver, message_id):
        return known | {"status": "delivered"}
    return {"status": "sent" if row.sent else "stored"} | known
