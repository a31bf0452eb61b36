"""The WebSocket route."""

from fastapi import APIRouter, WebSocket

from app.api.dependencies import RuntimeDep
from app.transports.sockjs_websocket import serve_any

router = APIRouter()


@router.websocket("/stomp-ws")
@router.websocket("/stomp-ws/websocket")
async def stomp_websocket(websocket: WebSocket, runtime: RuntimeDep) -> None:
    """STOMP over WebSocket. The second path is the raw WebSocket of SockJS; all else below is in `sockjs`."""
    await serve_any(websocket, runtime.gateway, runtime.websocket)
