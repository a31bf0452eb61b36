"""What a client asked for: facts for the gateway, in the order in which they came.

`receipt` is the id that the frame asked to have confirmed. The one who handles the event answers with
`ServerSession.receipt` once the work is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from app.stomp.frames import AckMode


@dataclass(frozen=True, slots=True)
class Subscription:
    """`id` is None for a 1.0 client that gave none; its destination stands for it then."""

    id: str | None
    destination: str
    ack_mode: AckMode = AckMode.AUTO


@dataclass(frozen=True, slots=True)
class Connect:
    """To be answered with `ServerSession.accept` or an ERROR; until then no further event comes."""

    headers: Mapping[str, str]
    receipt: ClassVar[None] = None  # CONNECTED is the answer (1.2, "receipt": "Any client frame other than CONNECT")


@dataclass(frozen=True, slots=True)
class Subscribe:
    subscription: Subscription
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """`subscription` is None if there was none of that id."""

    subscription: Subscription | None
    receipt: str | None = None


@dataclass(slots=True)  # not frozen: it comes with every acknowledgement, and would be three times as slow to create
class Send:
    destination: str
    headers: Mapping[str, str]
    body: bytes
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """`subscription` is None if it is not known or has ended; `cumulative` covers all that was sent before on it."""

    message_id: str
    subscription: Subscription | None = None
    receipt: str | None = None

    @property
    def cumulative(self) -> bool:
        return self.subscription is not None and self.subscription.ack_mode is AckMode.CLIENT


@dataclass(frozen=True, slots=True)
class Nack(Ack):
    """As `Ack`, for "again later"."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What the transaction gathered, to be done in this order; `Noted` has had the receipts of the single frames."""

    events: tuple[Send | Ack | Nack, ...]
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """BEGIN, ABORT, or a frame that joined a transaction: nothing is left to do but to answer the receipt."""

    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    receipt: str | None = None


Event = Connect | Subscribe | Unsubscribe | Send | Ack | Nack | Commit | Noted | Disconnect
