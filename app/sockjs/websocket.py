"""SockJS over WebSocket: its frames in one WebSocket each, for as long as that is open."""

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from app.sockjs.endpoint import SockJs
from app.sockjs.protocol.paths import Page, is_websocket, parse_path


async def serve_sockjs(websocket: WebSocket, path: str, sockjs: SockJs) -> None:
    """`path`: what follows the base URL and a slash."""
    target = parse_path(path)
    if target is None or not is_websocket(target) or not sockjs.options.websocket:
        await websocket.send_denial_response(PlainTextResponse("Not Found", 404))
        return
    raw = target is Page.RAW_WEBSOCKET
    await sockjs.websockets.serve(websocket, sockjs.endpoint if raw else sockjs.framed)
