"""SockJS over WebSocket: its frames in one WebSocket each, for as long as that is open."""

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket

from app.sockjs.paths import Page, is_websocket, parse_path
from app.transports.asgi import serve_websocket
from app.transports.endpoint import Endpoint
from app.transports.picows import serve_picows
from app.transports.sockjs import SockJs
from app.transports.takeover import takeover_of
from app.transports.websocket import WebSocketOptions


async def serve_any(websocket: WebSocket, endpoint: Endpoint, options: WebSocketOptions) -> None:
    """On the fastest transport that the server has for it."""
    takeover = takeover_of(websocket.scope)
    if takeover is None:  # any other ASGI server
        await serve_websocket(websocket, endpoint, options)
    else:
        await serve_picows(websocket, endpoint, options, takeover)


async def serve_sockjs(websocket: WebSocket, path: str, sockjs: SockJs) -> None:
    """`path`: what follows the base URL and a slash."""
    target = parse_path(path)
    if target is None or not is_websocket(target) or not sockjs.options.websocket:
        await websocket.send_denial_response(PlainTextResponse("Not Found", 404))
        return
    raw = target is Page.RAW_WEBSOCKET
    await serve_any(websocket, sockjs.endpoint if raw else sockjs.framed, sockjs.options.websockets)
