"""Serve WebSockets of picows and of any other ASGI server."""

from starlette.responses import Response
from starlette.websockets import WebSocket

from app.connections.limits import ConnectionLimits
from app.connections.refusals import Refusal
from app.disconnects import TRY_AGAIN
from app.http.admission import HEADERS, STATUS, problem
from app.picows.flush import Flusher
from app.picows.takeover import takeover_of
from app.transports.asgi import serve_websocket
from app.transports.endpoint import Endpoint
from app.transports.opening import WebSocketOptions
from app.transports.picows import serve_picows


class WebSockets:
    """The WebSockets of one event loop. Without `limits` any number of connections may open."""

    def __init__(self, options: WebSocketOptions, limits: ConnectionLimits | None = None) -> None:
        self._options = options
        self._limits = limits
        self._flusher = Flusher()

    async def serve(self, websocket: WebSocket, endpoint: Endpoint) -> None:
        """Serve one connection from the handshake to its end. 403: foreign Origin; 503: refused by the limits."""
        if self._limits is not None:
            client = websocket.scope.get("client")
            refusal = self._limits.attempt(client[0] if client else None)
            if refusal is not None:
                await _refuse(websocket, refusal)
                return
        takeover = takeover_of(websocket.scope)
        if takeover is None:  # any other ASGI server
            await serve_websocket(websocket, endpoint, self._options)
        else:
            await serve_picows(websocket, endpoint, self._options, takeover, self._flusher)


async def _refuse(websocket: WebSocket, refusal: Refusal) -> None:
    if "websocket.http.response" in websocket.scope.get("extensions", ()):
        await websocket.send_denial_response(Response(problem(refusal), STATUS, HEADERS))
    else:
        await websocket.close(TRY_AGAIN.code, TRY_AGAIN.text)
