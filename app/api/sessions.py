"""Who is online, and how to end a session."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from app.api.dependencies import PushAccess, RuntimeDep
from app.api.problems import GUARDED, QUERY_ERRORS, responses
from app.api.schemas import SessionInfo, SessionList
from app.errors import NotFound
from app.hub.session import Session
from app.runtime import Runtime

router = APIRouter(prefix="/api/sessions", tags=["Sessions"], dependencies=[PushAccess])


@router.get("", summary="List all sessions", responses=responses(*GUARDED))
async def list_sessions(runtime: RuntimeDep) -> SessionList:
    """Everybody who is online, in the order in which they came."""
    return SessionList(items=[_info(session, runtime) for session in runtime.hub])


@router.get("/{user}", summary="List the sessions of a user", responses=responses(*GUARDED))
async def list_sessions_of_user(
    user: Annotated[str, Path(description="user id", examples=["test1"])], runtime: RuntimeDep
) -> SessionList:
    """Empty if the user is not online."""
    return SessionList(items=[_info(session, runtime) for session in runtime.hub.sessions_of(user)])


@router.delete("/{session_id}", status_code=204, summary="End a session", responses=responses(*QUERY_ERRORS))
async def end_session(
    session_id: Annotated[str, Path(description="from the list of sessions, or from CONNECTED")], runtime: RuntimeDep
) -> Response:
    """Closes it with 4503, which tells the client to stay away. What it did not acknowledge stays in the inbox."""
    if not runtime.gateway.kick(session_id):
        raise NotFound(f"there is no session {session_id[:64]!r}")
    return Response(status_code=204)


def _info(session: Session, runtime: Runtime) -> SessionInfo:
    return SessionInfo(
        session=session.id,
        user=session.user,
        transport=session.transport.name,
        version=session.version,
        remote=session.transport.remote,
        connected_at=session.connected_ms,
        subscriptions=sorted(session.subscribers),
        unacknowledged=runtime.acks.open_records_of(session),
    )
