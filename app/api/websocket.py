"""The WebSocket route."""

from fastapi import APIRouter, WebSocket

from app.api.dependencies import runtime_of

router = APIRouter()


@router.websocket("/stomp-ws")
@router.websocket("/stomp-ws/websocket")
async def stomp_websocket(websocket: WebSocket) -> None:
    """STOMP over WebSocket. The second path is the raw WebSocket of SockJS; all else below is in `sockjs`."""
    runtime = runtime_of(websocket)  # as a dependency it would be a twentieth of what a connect costs
    await runtime.websockets.serve(websocket, runtime.gateway)
