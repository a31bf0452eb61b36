"""What a client asked for: facts for the gateway, in the order in which they came.

`receipt` is the id that the frame asked to have confirmed. The one who handles the event answers with
`ServerSession.receipt` once the work is done.

Each is a Struct of msgspec: `type(event) is Send` finds what it is in a third of the time that `isinstance` takes.
"""

from collections.abc import Mapping
from typing import ClassVar, final

from msgspec import Struct

from app.stomp.frames import AckMode


class Subscription(Struct, frozen=True):
    """`id` is None for a 1.0 client that gave none; its destination stands for it then."""

    id: str | None
    destination: str
    ack_mode: AckMode = AckMode.AUTO


@final
class Connect(Struct, frozen=True):
    """To be answered with `ServerSession.accept` or an ERROR; until then no further event comes."""

    headers: Mapping[str, str]
    receipt: ClassVar[None] = None  # CONNECTED is the answer (1.2, "receipt": "Any client frame other than CONNECT")


class Subscribe(Struct, frozen=True):
    subscription: Subscription
    receipt: str | None = None


class Unsubscribe(Struct, frozen=True):
    """`subscription` is None if there was none of that id."""

    subscription: Subscription | None
    receipt: str | None = None


@final
class Send(Struct, frozen=True):
    destination: str
    headers: Mapping[str, str]
    body: bytes
    receipt: str | None = None


class Ack(Struct, frozen=True):
    """`subscription` is None if it is not known or has ended; `cumulative` covers all that was sent before on it."""

    message_id: str
    subscription: Subscription | None = None
    receipt: str | None = None

    @property
    def cumulative(self) -> bool:
        return self.subscription is not None and self.subscription.ack_mode is AckMode.CLIENT


class Nack(Ack, frozen=True):
    """As `Ack`, for "again later"."""


class Commit(Struct, frozen=True):
    """What the transaction gathered, to be done in this order; `Noted` has had the receipts of the single frames."""

    events: tuple[Send | Ack | Nack, ...]
    receipt: str | None = None


class Noted(Struct, frozen=True):
    """BEGIN, ABORT, or a frame that joined a transaction: nothing is left to do but to answer the receipt."""

    receipt: str | None = None


@final
class Disconnect(Struct, frozen=True):
    receipt: str | None = None


Event = Connect | Subscribe | Unsubscribe | Send | Ack | Nack | Commit | Noted | Disconnect
