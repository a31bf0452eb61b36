"""WebSockets on the websockets library, for connections that go through ASGI."""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class AsgiProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which also sends the response to a handshake that the library refuses to parse.

    The library refuses header lines over 8 KB and more than 128 headers. uvicorn does not send its response.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
