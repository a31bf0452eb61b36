"""What publishers and clients saw, with monotonic times. The accounting reads nothing else."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

TAG = "chaos/"
LEFT = 1000  # close code of a session that its client ended


@dataclass(slots=True)
class Push:
    """One message of a publisher. Its tag is in the body, so every copy names its push whatever id it has.

    `begun` and `accepted` order the pushes of one publisher: A precedes B if A.accepted < B.begun.
    """

    tag: str
    publisher: int
    receiver: str | None
    kind: str
    persisted: bool
    own_id: str | None
    repeatable: bool
    begun: int = 0
    began_s: float = 0.0
    attempts: int = 0
    outcome: Literal["open", "accepted", "refused", "unknown", "given up"] = "open"
    accepted: int = 0
    accepted_s: float = 0.0
    status: str = ""
    ids: set[str] = field(default_factory=set)
    unreached: list[str] = field(default_factory=list)
    last_problem: str = ""


@dataclass(frozen=True, slots=True)
class Reception:
    """A copy of a message. A dropped one was sent, but the client lost it."""

    at_s: float
    message_id: str
    tag: str
    redelivered: bool
    dropped: bool = False


@dataclass(slots=True)
class Session:
    """One STOMP session. `subscribed_s` is when its RECEIPT came, `ended_s` when the client noticed its end."""

    client: str
    user: str
    has_device: bool
    node: int
    subscribed_s: float | None = None
    ended_s: float | None = None
    code: int | None = None
    received: list[Reception] = field(default_factory=list)

    def is_open_until(self, at_s: float) -> bool:
        return self.ended_s is None or self.ended_s >= at_s


@dataclass(slots=True)
class Acks:
    """Acknowledgements of one client: when each was first sent, and when first confirmed."""

    sent_s: dict[str, float] = field(default_factory=dict)
    confirmed_s: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Journal:
    pushes: dict[str, Push] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    acks: dict[str, Acks] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    closes: Counter[int] = field(default_factory=Counter)
    unexpected_closes: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    bad_answers: list[str] = field(default_factory=list)
    is_settling: bool = False
    last_trouble_s: float = 0.0
    last_reception_s: float = 0.0
    fault_began_s: float = 0.0
    fault_ended_s: float = 0.0
    wrong_statuses: list[str] = field(default_factory=list)
    statuses: int = 0
    not_in_history: list[str] = field(default_factory=list)
    twice_in_history: list[str] = field(default_factory=list)
    tracebacks: int = 0

    def since_fault(self, at_s: float | None) -> str:
        """Render a time for people: seconds after the fault began."""
        return "never" if at_s is None else f"{at_s - self.fault_began_s:+.2f}s"
