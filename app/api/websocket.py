"""The WebSocket route."""

from fastapi import APIRouter, WebSocket

from app.api.dependencies import RuntimeDep

router = APIRouter()


@router.websocket("/stomp-ws")
@router.websocket("/stomp-ws/websocket")
async def stomp_websocket(websocket: WebSocket, runtime: RuntimeDep) -> None:
    """STOMP over WebSocket. The second path is what SockJS clients use for a raw WebSocket."""
    await runtime.websocket.serve(websocket)
