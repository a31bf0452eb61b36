"""The routes that list sessions and end one."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from app.api.dependencies import PushAccess, RuntimeDep
from app.api.problems import GUARDED, QUERY_ERRORS, responses
from app.api.schemas import SessionList
from app.errors import InvalidMessage, NotFound, Unavailable
from app.messages.receivers import receiver_name

router = APIRouter(prefix="/api/sessions", tags=["Sessions"], dependencies=[PushAccess])


@router.get("", summary="List all sessions", responses=responses(*GUARDED))
async def list_sessions(runtime: RuntimeDep) -> SessionList:
    """Return the sessions of all nodes, in the order in which they connected."""
    items, unanswered = await runtime.directory.sessions()
    return SessionList(items=items, unanswered=unanswered)


@router.get("/{user}", summary="List the sessions of a user", responses=responses(*GUARDED, InvalidMessage))
async def list_sessions_of_user(
    user: Annotated[str, Path(description="user id", examples=["test1"])], runtime: RuntimeDep
) -> SessionList:
    """Return the sessions of one user on all nodes. The list is empty if the user is offline."""
    items, unanswered = await runtime.directory.sessions(receiver_name(user, "user"))
    return SessionList(items=items, unanswered=unanswered)


@router.delete(
    "/{session_id}", status_code=204, summary="End a session", responses=responses(*QUERY_ERRORS, Unavailable)
)
async def end_session(
    session_id: Annotated[str, Path(description="from the list of sessions, or from CONNECTED")],
    runtime: RuntimeDep,
) -> Response:
    """Close a session with 4503, which tells the client not to reconnect.

    Messages that it did not acknowledge stay in the inbox.
    """
    if not await runtime.directory.end_session(session_id):
        raise NotFound(f"there is no session {session_id[:64]!r}")
    return Response(status_code=204)
