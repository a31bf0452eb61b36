"""The port for a user's messages in their total order, and for those that no device has acknowledged.

Each accepted message gets a sequence number, `seq`, above that of the message before it. The log keeps the latest
messages, acknowledged or not, so that a node that was away catches up from its cursor, the seq that it applied last, or
knows that it cannot. The inbox has what a new session is sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple, Protocol

from app.errors import InboxFull, Unavailable
from app.messages.message import Envelope

RETRY_AFTER_S = 5


class Keep(StrEnum):
    """When the inbox keeps a message. The log always keeps it."""

    ALWAYS = "always"
    UNHEARD = "unheard"
    """Only if no node listens for the receiver: it is sent once to the sessions that are there."""
    NEVER = "never"
    """The archive keeps it."""


class Kind(StrEnum):
    """How the mailbox recognises a message that it has accepted before."""

    NEW = "new"
    """It cannot have: the id was made for this put."""
    GIVEN = "given"
    """The caller chose the id: it is known until the message expires."""
    STORED = "stored"
    """A persisted message, pushed for the first time."""
    AGAIN = "again"
    """A persisted message of which it is uncertain whether it was accepted."""


# Python 3.11 takes 0.1 µs to find a member in its class, and a push would ask ten times.
ALWAYS, UNHEARD, NEVER = Keep.ALWAYS, Keep.UNHEARD, Keep.NEVER
NEW, GIVEN, STORED, AGAIN = Kind.NEW, Kind.GIVEN, Kind.STORED, Kind.AGAIN


class Placed(NamedTuple):
    """The outcome of a put: `others` are the other nodes that got the message for sessions of theirs.

    `known`: the message had been accepted before, and nothing was done; the digest of the content that came then, or
    "" where that was not asked. `unsafe`: it is accepted and on its way, and may be lost all the same, so the caller of
    the push has to be told.
    """

    seq: int = 0
    previous: int = 0
    others: int = 0
    kept: bool = True
    known: str | None = None
    unsafe: Unavailable | None = None


class Missed(NamedTuple):
    """The messages after a cursor, or the first of them if there are `more`.

    `is_new`: the store has lost its data, and these are all messages since then. `is_lost`: what was missed
    cannot be told.
    """

    head: int
    envelopes: Sequence[Envelope] = ()
    more: bool = False
    is_new: bool = False
    is_lost: bool = False


class Fate(Enum):
    """What became of a message in the mailbox."""

    WAITS = "waits"
    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    """It was never kept, has expired, or was acknowledged too long ago."""


class Described(NamedTuple):
    """A message of which only its description is left; times are ms since 1970. `is_heard`: some node had a session."""

    receiver: str
    type: str
    created_ms: int
    expires_ms: int
    acknowledged: bool
    persisted: bool
    is_heard: bool


class Mailbox(Protocol):
    """Callbacks come in the order of the store: after every message before them, before every message after them."""

    is_durable: bool
    """Whether what is in it survives the end of this process."""

    remember_ms: int
    """How long acknowledgements are remembered."""

    async def put(
        self,
        envelope: Envelope,
        *,
        keep: Keep = Keep.ALWAYS,
        kind: Kind = Kind.NEW,
        digest: str = "",
        on_accepted: Callable[[Placed], None] = lambda placed: None,
    ) -> Placed:
        """Accept the message and send it to the other nodes that watch its receiver. Sets `envelope.seq`.

        `on_accepted` is not called for what is known. Raises InboxFull, or Unavailable: whether the message is accepted
        is not known then.
        """

    def read(
        self, user: str, now_ms: int, on_head: Callable[[int], None]
    ) -> Sequence[Envelope] | Awaitable[Sequence[Envelope]]:
        """Return what waits for a new session, oldest first; `on_head` gets the seq of the latest message.

        It has what is persisted and not acknowledged as far as the log goes, and nothing that has expired. Raises
        Unavailable when awaited.
        """

    def catch_up(self, user: str, cursor: int, on_answer: Callable[[Missed], None]) -> Awaitable[None] | None:
        """Find what came after the cursor. Raises Unavailable when awaited."""

    def acknowledge(self, user: str, message_id: str) -> None:
        """Take a message out of the inbox and remember that no session needs it. Instant; unknown ids are no error."""

    def confirmation(self, user: str, message_id: str) -> Awaitable[None] | None:
        """Completes when the store has the acknowledgement; None if it has."""

    async def acknowledged(self, user: str, ids: Sequence[str]) -> Sequence[bool]:
        """Whether each was acknowledged or withdrawn, for as long as that is remembered. Raises Unavailable."""

    async def find(self, message_id: str) -> Described | None:
        """Return what is left of a message that no node may remember. Raises Unavailable."""

    async def fate(self, user: str, message_id: str) -> Fate:
        """Raises Unavailable."""

    def watch(self, user: str) -> None:
        """Keep the user's history: a cursor of this node depends on it from now on."""

    def unwatch(self, user: str) -> None: ...

    def expire(self, now_ms: int) -> None:
        """Drop expired messages, if the store does not do so itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxLimits:
    """`max_messages` unacknowledged of one user, `max_bytes` of all users together (in memory).

    `window_ms`: how long the log keeps a message, `remember_ms`: how long an acknowledgement is remembered.
    """

    max_messages: int = 300
    max_bytes: int = 268_435_456
    window_ms: int = 60_000
    remember_ms: int = 600_000


def inbox_full(receiver: str, count: int) -> InboxFull:
    return InboxFull(f"{receiver} has {count} unacknowledged messages, the limit", retry_after_s=RETRY_AFTER_S)
