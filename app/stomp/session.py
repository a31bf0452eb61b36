"""The server's side of one STOMP connection: takes bytes, returns events. No I/O, no clock.

CONNECTING --CONNECT/STOMP--> AUTHENTICATING --accept()--> OPEN --DISCONNECT--> CLOSED
any state --error(), protocol violation--> CLOSED

session.receive_data(data)
while (event := session.next_event()) is not None:
    ...
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.stomp.codec import encode_frame
from app.stomp.errors import ProtocolError
from app.stomp.events import (
    Ack,
    Commit,
    Connect,
    Disconnect,
    Event,
    Nack,
    ReceiptOnly,
    Send,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from app.stomp.frames import Frame, FrameLimits, Version
from app.stomp.heartbeat import Heartbeat, parse_heartbeat
from app.stomp.negotiation import negotiate_version, trimmed_headers
from app.stomp.parser import FrameParser
from app.stomp.plain import NO_HEAD, SEND_LINE, find_plain_head, fits_plain_heads
from app.stomp.subscriptions import key_to_end, subscription_of
from app.stomp.transactions import Transactions


class State(StrEnum):  # strings: the hash of other members is computed in Python
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    OPEN = "open"
    CLOSED = "closed"


CONNECTING, AUTHENTICATING, OPEN, CLOSED = State  # access through the class takes six times as long
NO_HEARTBEAT = Heartbeat()  # 1.0 has none
OPEN_COMMANDS = ("SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT")
TRANSITIONS: Mapping[tuple[State, str], State] = {
    (CONNECTING, "CONNECT"): AUTHENTICATING,
    (CONNECTING, "STOMP"): AUTHENTICATING,
    **{(OPEN, command): OPEN for command in OPEN_COMMANDS},
    (OPEN, "DISCONNECT"): CLOSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Limits of a session: of its frames before and after CONNECTED, and of what it may keep open."""

    connecting: FrameLimits = field(default_factory=lambda: FrameLimits(max_frame_bytes=65_536))
    connected: FrameLimits = field(default_factory=FrameLimits)
    max_subscriptions: int = 128
    max_transactions: int = 16
    max_transaction_bytes: int = 1_048_576


class ServerSession:
    """Parses the frames of a client, checks them against the state, and encodes the responses."""

    __slots__ = (
        "_head",
        "_limits",
        "_offer",
        "_parser",
        "_plain_bytes",
        "_server",
        "_transactions",
        "heartbeat",
        "state",
        "subscriptions",
        "version",
    )

    def __init__(self, limits: SessionLimits, *, heartbeat: Heartbeat, server: str) -> None:
        """`heartbeat` is the server's offer, `server` its name and version for CONNECTED."""
        self.state = CONNECTING
        self.version = Version.V10
        self.heartbeat = Heartbeat()
        self.subscriptions: dict[str, Subscription] = {}
        self._limits = limits
        self._offer = heartbeat
        self._server = server
        self._parser = FrameParser(limits.connecting)
        self._plain_bytes = 0  # size limit of frames for `plain_send`; 0: none may be read by it
        self._head = NO_HEAD
        self._transactions = Transactions(limits.max_transactions, limits.max_transaction_bytes)

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the transport. They are dropped once the session is closed."""
        if self.state is not CLOSED:
            self._parser.feed(data)

    @property
    def buffered(self) -> int:
        """Number of bytes that wait for `next_event`."""
        return self._parser.buffered

    def next_event(self) -> Event | None:
        """Return the next event, or None until more data or `accept`. Raises ProtocolError and closes the session."""
        if self.state is AUTHENTICATING or self.state is CLOSED:
            return None
        try:
            frame = self._parser.next_frame()
            return None if frame is None else self._handle(frame)
        except ProtocolError:
            self.state = CLOSED
            raise

    def plain_send(self, data: bytes) -> Send | None:
        """Return the event of data that is one whole SEND with a plain head, as nearly all data is.

        None: nothing was done; use `receive_data` and `next_event`. Must not be called while bytes are buffered.
        """
        end = len(data) - 1
        if end >= self._plain_bytes or self.state is not OPEN:
            return None
        head = self._head
        if not data.startswith(head.text):
            found = find_plain_head(data) if data.startswith(SEND_LINE) else None
            if found is None:
                return None
            self._head = head = found
        start, length = len(head.text), head.content_length
        body = data[start:end]
        if data[end] != 0 or 0 in body or (length is not None and length != end - start):
            return None
        return Send(head.destination, head.headers, body, head.receipt)

    def _handle(self, frame: Frame) -> Event:
        try:
            next_state = TRANSITIONS.get((self.state, frame.command))
            if next_state is None:
                raise self._unexpected(frame)
            event = _HANDLERS[frame.command](self, frame)
            if frame.body and frame.command != "SEND":
                self._check_body(frame)
        except ProtocolError as error:
            error.receipt_id = error.receipt_id or frame.receipt
            raise
        self.state = next_state
        return event

    def _unexpected(self, frame: Frame) -> ProtocolError:
        if self.state is CONNECTING:
            return ProtocolError("not connected", f"the first frame is {frame.command[:32]!r}, CONNECT was expected")
        if frame.command in ("CONNECT", "STOMP"):
            return ProtocolError("already connected", "a connection takes one CONNECT")
        return ProtocolError("unknown command", f"{frame.command[:32]!r} is not a command of a STOMP client")

    def _check_body(self, frame: Frame) -> None:
        # 1.1 on: "Only the SEND, MESSAGE, and ERROR frames MAY have a body. All other frames MUST NOT have a body."
        if self.version is not Version.V10:
            raise ProtocolError("malformed frame", f"a {frame.command} frame must not have a body")

    # One method for each command

    def _connect(self, frame: Frame) -> Event:
        self.version = self._parser.version = negotiate_version(frame.headers.get("accept-version"))
        if self.version is Version.V10:
            return Connect(trimmed_headers(frame.headers))
        self.heartbeat = self._offer.agree(parse_heartbeat(frame.headers.get("heart-beat", "0,0")))
        return Connect(frame.headers)

    def _subscribe(self, frame: Frame) -> Event:
        key, subscription = subscription_of(frame, self.version)
        if key in self.subscriptions:
            raise ProtocolError("duplicate subscription", f"the subscription id {key[:64]!r} is in use")
        if len(self.subscriptions) >= self._limits.max_subscriptions:
            raise ProtocolError(
                "too many subscriptions", f"a session may have {self._limits.max_subscriptions} subscriptions"
            )
        self.subscriptions[key] = subscription
        return Subscribe(subscription, frame.receipt)

    def _unsubscribe(self, frame: Frame) -> Event:
        key = key_to_end(frame, self.version, self.subscriptions)
        return Unsubscribe(self.subscriptions.pop(key, None), frame.receipt)

    def _send(self, frame: Frame) -> Event:
        headers = frame.headers
        event = Send(frame.required("destination"), headers, frame.body, headers.get("receipt"))
        return self._join(frame, event) if "transaction" in headers else event

    def _ack(self, frame: Frame) -> Event:
        event = Ack(*self._acked(frame), frame.receipt)
        return self._join(frame, event) if "transaction" in frame.headers else event

    def _nack(self, frame: Frame) -> Event:
        if self.version is Version.V10:
            raise self._unexpected(frame)
        event = Nack(*self._acked(frame), frame.receipt)
        return self._join(frame, event) if "transaction" in frame.headers else event

    def _acked(self, frame: Frame) -> tuple[str, Subscription | None]:
        """Return message id and subscription. 1.2 sends the `ack_id`, 1.1 both ids, 1.0 at least the first."""
        if self.version is Version.V12:
            message_id, _, key = frame.required("id").partition("/")
        else:
            message_id = frame.required("message-id")
            key = frame.headers.get("subscription", "")
            if not key and self.version is Version.V11:
                key = frame.required("subscription")
        return message_id, self.subscriptions.get(key)

    def _join(self, frame: Frame, event: Send | Ack | Nack) -> Event:
        self._transactions.add(frame.headers["transaction"], event)
        return ReceiptOnly(frame.receipt)

    def _begin(self, frame: Frame) -> Event:
        self._transactions.begin(frame.required("transaction"))
        return ReceiptOnly(frame.receipt)

    def _commit(self, frame: Frame) -> Event:
        return Commit(tuple(self._transactions.end(frame.required("transaction"))), frame.receipt)

    def _abort(self, frame: Frame) -> Event:
        self._transactions.end(frame.required("transaction"))
        return ReceiptOnly(frame.receipt)

    def _disconnect(self, frame: Frame) -> Event:
        return Disconnect(frame.receipt)

    # Sending

    def accept(self, *, session_id: str, user: str) -> bytes:
        """Open the session and return the CONNECTED frame. `user` must not contain control characters."""
        assert self.state is AUTHENTICATING
        self.state = OPEN
        self._parser.limits = limits = self._limits.connected
        if self.version is not Version.V10 and fits_plain_heads(limits):
            self._plain_bytes = limits.max_frame_bytes
        headers = (
            ("version", str(self.version)),
            ("session", session_id),
            ("server", self._server),
            ("heart-beat", str(NO_HEARTBEAT if self.version is Version.V10 else self._offer)),
            ("user-name", user),
        )
        return encode_frame("CONNECTED", headers, version=self.version)

    def receipt(self, receipt_id: str) -> bytes:
        """Return the RECEIPT frame."""
        return encode_frame("RECEIPT", (("receipt-id", receipt_id),), version=self.version)

    def error(
        self, message: str, detail: str, *, receipt_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Close the session and return the ERROR frame. The caller must close the connection after it."""
        self.state = CLOSED
        self._transactions.clear()
        body = detail.encode()
        lines = {"message": message, "content-type": "text/plain;charset=utf-8", "content-length": str(len(body))}
        if receipt_id is not None:
            lines["receipt-id"] = receipt_id
        return encode_frame("ERROR", (lines | dict(headers or {})).items(), body, version=self.version)


_HANDLERS: Mapping[str, Callable[[ServerSession, Frame], Event]] = {
    "CONNECT": ServerSession._connect,
    "STOMP": ServerSession._connect,
    "SUBSCRIBE": ServerSession._subscribe,
    "UNSUBSCRIBE": ServerSession._unsubscribe,
    "SEND": ServerSession._send,
    "ACK": ServerSession._ack,
    "NACK": ServerSession._nack,
    "BEGIN": ServerSession._begin,
    "COMMIT": ServerSession._commit,
    "ABORT": ServerSession._abort,
    "DISCONNECT": ServerSession._disconnect,
}


def ack_id(message_id: str, subscription_id: str) -> str:
    """Return the `ack` header of a MESSAGE. It is unique in the session and names the subscription.

    `message_id` must not contain "/".
    """
    return f"{message_id}/{subscription_id}"
