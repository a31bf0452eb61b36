"""A model of Redis: a store that nodes share, what it publishes, and a replica that takes over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from app.cluster.keys import EVERYBODY, user_channel
from app.cluster.mailbox.memory import MemoryStore
from app.cluster.wire import Kind as MessageKind
from app.cluster.wire import encode_envelope, label
from app.delivery.mailbox import Keep, Kind, MailboxLimits, Missed, Placed
from app.messages.message import Envelope
from tests.clock import FakeClock


class Connection(Protocol):
    """What the server knows of a connection."""

    subscribed: set[str]

    def send_message(self, channel: str, payload: bytes) -> None: ...


class StoreClock:
    """The clock of a store; `at_ms` while the past is done again."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.at_ms: int | None = None

    def epoch_ms(self) -> int:
        return self._clock.epoch_ms() if self.at_ms is None else self.at_ms

    def monotonic(self) -> float:
        return self.epoch_ms() / 1000


@dataclass(frozen=True)
class Accepted:
    """A message that the server has taken, the `index`-th write of its history."""

    envelope: Envelope
    kind: Kind
    kept: bool
    index: int

    @property
    def seq(self) -> int:
        return self.envelope.seq


class Server:
    """One history of writes, and a replica that may lag behind it.

    `accepted` is what no disaster has undone, `lost` what one has; `twice` has ids that their callers gave and
    that were accepted again. `broadcasts` has their seqs.
    """

    def __init__(self, clock: FakeClock, limits: MailboxLimits) -> None:
        self.clock = clock
        self.connections: list[Connection] = []
        self.accepted: dict[str, Accepted] = {}
        self.broadcasts: dict[str, int] = {}
        self.lost: set[str] = set()
        self.twice: list[str] = []
        self.disasters = 0
        self._limits = limits
        self._writes: list[tuple[int, Callable[[MemoryStore], object]]] = []
        self._replicated: int | None = None  # None: all of it
        self.store = self._new_store()

    def _new_store(self) -> MemoryStore:
        self._store_clock = StoreClock(self.clock)
        return MemoryStore(self._limits, self._store_clock)

    # Commands

    def put(self, sender: str, envelope: Envelope, keep: Keep, kind: Kind, digest: str) -> Placed:
        """`others` of the result counts all nodes that listen."""
        heard = 0

        def forward(envelope: Envelope, previous: int) -> int:
            nonlocal heard
            heard = self.publish(user_channel(envelope.receiver), payload_of(sender, envelope, previous))
            return heard

        again = replace(envelope)
        placed = self.store.put(envelope, keep=keep, kind=kind, digest=digest, forward=forward)
        if placed.known is None:
            if kind is Kind.GIVEN and envelope.message.id in self.accepted:
                self.twice.append(envelope.message.id)
            self.accepted[envelope.message.id] = Accepted(envelope, kind, placed.kept, len(self._writes))
            self._write(
                lambda store: store.put(
                    replace(again), keep=keep, kind=kind, digest=digest, forward=lambda envelope, previous: heard
                )
            )
        return placed

    def read(self, user: str) -> tuple[int, Sequence[Envelope]]:
        envelopes = self.store.read(user, self.clock.epoch_ms())
        return self.store.head(user), [replace(envelope) for envelope in envelopes]

    def after(self, user: str, cursor: int, page: int) -> Missed:
        missed = self.store.after(user, cursor)
        envelopes = [replace(envelope) for envelope in missed.envelopes[:page]]
        return missed._replace(envelopes=envelopes, more=len(missed.envelopes) > page)

    def acknowledge(self, user: str, message_id: str) -> None:
        self.store.acknowledge(user, message_id)
        self._write(lambda store: store.acknowledge(user, message_id))

    def publish(self, channel: str, payload: bytes) -> int:
        listening = [connection for connection in self.connections if channel in connection.subscribed]
        for connection in listening:
            connection.send_message(channel, payload)
        return len(listening)

    def broadcast(self, message_id: str, payload: bytes) -> int:
        """As the script does; return the seq."""
        seq = self.broadcasts[message_id] = self.clock.epoch_ms() * 1000
        self.publish(EVERYBODY, payload.replace(b"\n{", b'\n{"seq":%d,' % seq, 1))
        return seq

    def is_replicated(self) -> bool:
        return self._replicated is None or self._replicated == len(self._writes)

    def _write(self, write: Callable[[MemoryStore], object]) -> None:
        self._writes.append((self.clock.epoch_ms(), write))

    # Accidents

    def lag(self, lags: bool) -> None:
        self._replicated = len(self._writes) if lags else None

    def fail_over(self) -> None:
        """The replica takes over with what it has, and all connections end."""
        kept = len(self._writes) if self._replicated is None else self._replicated
        self.disasters += kept < len(self._writes)
        self._replicated = None
        del self._writes[kept:]
        self.lost |= {id for id, accepted in self.accepted.items() if accepted.index >= kept}
        self.accepted = {id: accepted for id, accepted in self.accepted.items() if accepted.index < kept}
        self.store = self._new_store()
        for at_ms, write in self._writes:
            self._store_clock.at_ms = at_ms
            write(self.store)
        self._store_clock.at_ms = None

    def lose_all(self) -> None:
        self.disasters += 1
        self._writes, self._replicated = [], None
        self.lost |= self.accepted.keys()
        self.accepted.clear()
        self.store = self._new_store()

    # What tests ask

    def before_broadcast(self, message_id: str, user: str) -> int:
        """The seq of the user's latest message before a broadcast."""
        seqs = (accepted.seq for accepted in self.accepted.values() if accepted.envelope.receiver == user)
        return max((seq for seq in seqs if seq < self.broadcasts[message_id]), default=0)

    def has_undone(self, user: str, cursor: int | None) -> bool:
        """Whether a cursor is that of a message which a disaster has undone."""
        seqs = [accepted.seq for accepted in self.accepted.values() if accepted.envelope.receiver == user]
        return cursor is not None and cursor > 0 and cursor not in seqs

    def floor(self, user: str) -> int:
        """The seq before the first message that the log has."""
        log = self.store._logs.get(user)
        return log.floor if log else 0


def payload_of(sender: str, envelope: Envelope, previous: int) -> bytes:
    """As the script publishes it."""
    stamp = b',"accepted":%d,"previous":%d,"acked":%d,"expires_ms":%d}'
    stamp %= envelope.seq, previous, envelope.acked_ms, envelope.expires_ms
    return label(MessageKind.MESSAGE, sender) + encode_envelope(envelope)[:-1] + stamp
