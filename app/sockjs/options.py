"""The options of a SockJS endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field

from app.sockjs.protocol.buffer import BufferLimits, Timing
from app.sockjs.protocol.pieces import Encode, Pieces, encode_message
from app.transports.opening import WebSocketOptions

CLIENT_URL = "https://cdn.jsdelivr.net/npm/sockjs-client@1.6.1/dist/sockjs.min.js"


def any_text(data: bytes, binary: bool) -> str:
    """SockJS carries text alone. Halves of surrogate pairs, which are text to JavaScript, come back as they came."""
    return data.decode("utf-8", "replace" if binary else "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class SockJsOptions:
    """`response_limit`: bytes after which a streaming response ends, so that browsers can forget what they read.

    `cookie_needed` helps balancers that know nothing but JSESSIONID. `max_sessions` are those over HTTP alone.
    `as_text` makes text of what an endpoint sends. `is_stream`: messages of clients are pieces of something longer, and
    where one ends says nothing. `protocol_0_3_3`: as that version has it where clients of today expect what later ones
    have.
    """

    websocket: bool = True
    cookie_needed: bool = False
    response_limit: int = 131_072
    timing: Timing = field(default_factory=Timing)
    max_body_bytes: int = 524_288
    max_sessions: int = 10_000
    client_url: str = CLIENT_URL
    protocol_0_3_3: bool = False
    as_text: Callable[[bytes, bool], str] = any_text
    is_stream: bool = False
    websockets: WebSocketOptions = field(default_factory=WebSocketOptions)

    def new_encode(self) -> Encode:
        """For the messages of one client."""
        return Pieces().encode if self.is_stream else encode_message

    @property
    def buffer(self) -> BufferLimits:
        outbox = self.websockets.outbox
        return BufferLimits(max_messages=outbox.max_frames, max_bytes=outbox.max_bytes)
