"""The WebSocket route."""

from fastapi import APIRouter, WebSocket

from app.api.dependencies import RuntimeDep
from app.transports.asgi import serve_websocket
from app.transports.picows import serve_picows
from app.transports.takeover import takeover_of

router = APIRouter()


@router.websocket("/stomp-ws")
@router.websocket("/stomp-ws/websocket")
async def stomp_websocket(websocket: WebSocket, runtime: RuntimeDep) -> None:
    """STOMP over WebSocket. The second path is what SockJS clients use for a raw WebSocket."""
    takeover = takeover_of(websocket.scope)
    if takeover is None:  # any other ASGI server
        await serve_websocket(websocket, runtime.gateway, runtime.websocket)
    else:
        await serve_picows(websocket, runtime.gateway, runtime.websocket, takeover)
