"""What happens to messages and sessions, for those who watch: metrics, logs, web hooks, applications.

An observer is a function that takes one event:

    def count(event: Event) -> None:
        match event:
            case Acknowledged(type=type, sent_ms=sent_ms, acked_ms=acked_ms): ...
            case Disconnected(reason=reason): ...

It runs on the event loop, in the middle of what it is told about, so it must return at once and must not call back
into the service; an observer with more to do puts the event into a queue. Events of one session come in their order.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.disconnects import DisconnectReason

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A push was accepted on this node. A repeat of an earlier push is not told again.

    `receiver` None: a broadcast to `destination`, which is told by this event alone. `sessions`: so many of this node
    got the message at once.
    """

    message_id: str
    type: str
    receiver: str | None
    destination: str
    persisted: bool
    status: Literal["sent", "stored"]
    sessions: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message was sent to a session for the first time. `attempt`: 1, or more if other sessions got it before."""

    message_id: str
    type: str
    user: str
    session_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Resent:
    """A message was sent to a session again. `retries`: so many times by now."""

    message_id: str
    type: str
    user: str
    session_id: str
    attempt: int
    retries: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A session acknowledged a message. `sent_ms`: when it was sent to that session last; None if to an earlier one.

    Times are in milliseconds since the epoch.
    """

    message_id: str
    type: str
    user: str
    session_id: str
    sent_ms: int | None
    acked_ms: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A message is not sent to this session any more: its lifetime or its retries are used up."""

    message_id: str
    type: str
    session_id: str
    retries: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A CONNECT was accepted. `transport`: websocket, xhr-streaming, …; `remote`: the address of the client."""

    session_id: str
    user: str
    client_id: str | None
    transport: str
    remote: str | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A session has ended after `duration_ms`."""

    session_id: str
    user: str
    reason: DisconnectReason
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection was refused before it was a session; `detail` is what its client was told."""

    reason: DisconnectReason
    detail: str
    transport: str
    remote: str | None


Event = Accepted | Sent | Resent | Acknowledged | Expired | Connected | Disconnected | Refused
Observer = Callable[[Event], None]


def combine(observers: Sequence[Observer]) -> Observer | None:
    """Return one observer that tells all of them; None if there are none, so that events need not be made.

    An observer that raises harms neither the service nor the others; its first exception is logged.
    """
    return _Observers(observers) if observers else None


class _Observers:
    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._failed: set[int] = set()

    def __call__(self, event: Event) -> None:
        for number, observer in enumerate(self._observers):
            try:
                observer(event)
            except Exception:  # of code that is not ours
                if number not in self._failed:
                    self._failed.add(number)
                    logger.exception("the observer %r failed; further failures are not logged", observer)
