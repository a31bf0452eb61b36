"""SockJS frames over a WebSocket."""

from app.disconnects import BAD_REQUEST, SLOW_CONSUMER, DisconnectReason
from app.hub.transport import Transport
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.frames import HEARTBEAT, OPEN, BrokenJson, decode_message, encode_array, encode_close, quote
from app.sockjs.protocol.pieces import Encode
from app.transports.endpoint import ConnectionHandler, Endpoint


class Framing:
    """Puts SockJS frames between a WebSocket transport and an endpoint that knows none."""

    def __init__(self, endpoint: Endpoint, options: SockJsOptions) -> None:
        self._endpoint = endpoint
        self._as_text = options.as_text
        self._new_encode = options.new_encode
        self._heartbeat_s = options.timing.heartbeat_s
        self._open: set[FramedPeer] = set()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, transport: Transport) -> ConnectionHandler:
        transport.send(OPEN)
        framed = FramedTransport(transport, self)
        peer = FramedPeer(self._endpoint.open(framed), framed, self._open, self._new_encode())
        self._open.add(peer)
        return peer

    def frame(self, data: bytes, binary: bool) -> bytes:
        return encode_array([quote(self._as_text(data, binary))])

    def tick(self, now: float, tick_s: float) -> None:
        """`tick_s` passes until the next call."""
        for peer in tuple(self._open):
            peer.transport.beat(now, self._heartbeat_s - tick_s)


class FramedTransport:
    """The transport that the endpoint sees."""

    def __init__(self, transport: Transport, framing: Framing) -> None:
        self.name = transport.name
        self.remote = transport.remote
        self._transport = transport
        self._framing = framing
        self._is_closed = False
        self._has_sent = True
        self._silent_since_s = 0.0

    @property
    def has_room(self) -> bool:
        return self._transport.has_room

    def send(self, data: bytes, binary: bool = False) -> None:
        if not self._is_closed:
            self._has_sent = True
            self._transport.send(self._framing.frame(data, binary))

    def close(self, reason: DisconnectReason) -> None:
        if not self._is_closed and reason is not SLOW_CONSUMER:  # which could not take it
            self._transport.send(encode_close(reason.code, reason.text))
        self.fail(reason)

    def fail(self, reason: DisconnectReason) -> None:
        """Close without a frame, because the client sent something other than SockJS."""
        self._is_closed = True
        self._transport.close(reason)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def ask(self) -> bool:
        return self._transport.ask()

    @property
    def is_asked(self) -> bool:
        return self._transport.is_asked

    async def writable(self) -> None:
        await self._transport.writable()

    def beat(self, now: float, silence_s: float) -> None:
        """Send a heart-beat if nothing was sent for long. A silence that began since the last call counts from now."""
        if self._has_sent:
            self._has_sent = False
            self._silent_since_s = now
        elif now - self._silent_since_s >= silence_s and not self._is_closed:
            self._silent_since_s = now
            self._transport.send(HEARTBEAT)


class FramedPeer:
    def __init__(
        self, peer: ConnectionHandler, transport: FramedTransport, open_peers: "set[FramedPeer]", encode: Encode
    ) -> None:
        self.transport = transport
        self._peer = peer
        self._open = open_peers
        self._encode = encode

    def receive(self, data: bytes) -> None:
        try:
            messages = decode_message(data)
        except BrokenJson:
            self.transport.fail(BAD_REQUEST)
            self._peer.end(BAD_REQUEST)
            return
        for message in messages:
            self._peer.receive(self._encode(message))

    def end(self, reason: DisconnectReason) -> None:
        self._peer.end(reason)

    def closed(self) -> None:
        self._open.discard(self)
        self._peer.closed()
