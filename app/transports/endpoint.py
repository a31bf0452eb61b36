"""Where the WebSockets of STOMP arrive, whichever server they come through."""

from starlette.websockets import WebSocket

from app.gateway.gateway import Gateway
from app.transports.asgi import serve_websocket
from app.transports.picows import serve_picows
from app.transports.takeover import takeover_of
from app.transports.websocket import WebSocketOptions
from app.transports.write_turn import WriteTurn


class WebSocketEndpoint:
    def __init__(self, gateway: Gateway, options: WebSocketOptions) -> None:
        self._gateway = gateway
        self._options = options
        self._turn = WriteTurn()

    async def serve(self, websocket: WebSocket) -> None:
        """Carries one connection from the handshake to its end. A foreign Origin is answered with 403."""
        takeover = takeover_of(websocket.scope)
        if takeover is None:  # any other ASGI server
            await serve_websocket(websocket, self._gateway, self._options)
        else:
            await serve_picows(websocket, self._gateway, self._options, takeover, self._turn)
