"""The WebSocket route."""

from fastapi import APIRouter, WebSocket

from app.api.dependencies import runtime_of

router = APIRouter()


@router.websocket("/stomp-ws")
@router.websocket("/stomp-ws/websocket")
async def stomp_websocket(websocket: WebSocket) -> None:
    """Serve STOMP over WebSocket. The second path is the raw WebSocket of SockJS; `app.api.sockjs` has the others."""
    runtime = runtime_of(websocket)  # as a dependency it would add 5 % to the cost of a connect
    await runtime.websockets.serve(websocket, runtime.gateway)
