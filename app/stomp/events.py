"""Events: what a client has requested, for the gateway, in the order of its frames.

`receipt` is the receipt id of the frame. The handler of the event sends `ServerSession.receipt` once the work is done.

Events are Structs of msgspec. `type(event) is Send` takes a third of the time of `isinstance`.
"""

from collections.abc import Mapping
from typing import ClassVar, final

from msgspec import Struct

from app.stomp.frames import AckMode


class Subscription(Struct, frozen=True):
    """A subscription of a session. `id` is None if a 1.0 client gave none; the destination then stands for it."""

    id: str | None
    destination: str
    ack_mode: AckMode = AckMode.AUTO


@final
class Connect(Struct, frozen=True):
    """CONNECT or STOMP. No further event follows until `ServerSession.accept` or `error` is called."""

    headers: Mapping[str, str]
    receipt: ClassVar[None] = None  # CONNECTED confirms it (1.2, "receipt": "Any client frame other than CONNECT")


class Subscribe(Struct, frozen=True):
    subscription: Subscription
    receipt: str | None = None


class Unsubscribe(Struct, frozen=True):
    """`subscription` is None if the session has none with that id."""

    subscription: Subscription | None
    receipt: str | None = None


@final
class Send(Struct, frozen=True):
    destination: str
    headers: Mapping[str, str]
    body: bytes
    receipt: str | None = None


class Ack(Struct, frozen=True):
    """`subscription` is None if it is unknown or has ended."""

    message_id: str
    subscription: Subscription | None = None
    receipt: str | None = None

    @property
    def cumulative(self) -> bool:
        """Whether earlier messages on the subscription are acknowledged, too."""
        return self.subscription is not None and self.subscription.ack_mode is AckMode.CLIENT


class Nack(Ack, frozen=True):
    """Like `Ack`: the client asks for the message again later."""


class Commit(Struct, frozen=True):
    """The frames of a transaction, to be processed in this order. Their receipts were requested by `ReceiptOnly`."""

    events: tuple[Send | Ack | Nack, ...]
    receipt: str | None = None


class ReceiptOnly(Struct, frozen=True):
    """BEGIN, ABORT, or a frame of a transaction: only the receipt is left to send."""

    receipt: str | None = None


@final
class Disconnect(Struct, frozen=True):
    receipt: str | None = None


Event = Connect | Subscribe | Unsubscribe | Send | Ack | Nack | Commit | ReceiptOnly | Disconnect
