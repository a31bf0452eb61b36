"""The route that returns the status of a push."""

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
    message_id: Annotated[str, Path(description="the `id` in the result of the push")],
    runtime: RuntimeDep,
) -> PushStatus:
    """Return whether a push is stored, sent, delivered (acknowledged by a device) or expired, and its sessions.

    Every node is asked for its latest deliveries, at most DELIVERY_LOG_SIZE. Redis keeps acknowledgements for
    ACK_REMEMBER_MS, the database keeps those of persisted messages as long as the messages. `unanswered` lists the
    nodes that did not reply within half a second.
    """
    known, unanswered = await runtime.directory.status(message_id)
    if message_id_problem(message_id) is None and (known is None or (known["persisted"] and _is_open(known))):
        known = await _with_database(known, message_id, runtime)
    if known is not None:
        return PushStatus(**{name: known[name] for name in known if name != "persisted"}, unanswered=unanswered)
    if unanswered:
        raise Unavailable(f"nodes that may know the push did not reply: {', '.join(unanswered)}", retry_after_s=1)
    raise NotFound(f"there is no record of a push with the id {message_id[:64]!r}")


def _is_open(known: Item) -> bool:
    return bool(known["status"] != "delivered")


async def _with_database(known: Item | None, message_id: str, runtime: Runtime) -> Item | None:
    """Add the database's record of a push.

    Raises Unavailable if the database is away and `known` is None.
    """
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
