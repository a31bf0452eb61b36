"""The mailbox in the memory of one process."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from app.delivery.mailbox import (
    AGAIN,
    ALWAYS,
    GIVEN,
    NEW,
    RETRY_AFTER_S,
    UNHEARD,
    Fate,
    Keep,
    Kind,
    MailboxLimits,
    Missed,
    Placed,
    inbox_full,
)
from app.errors import Unavailable
from app.messages.message import Envelope
from app.timing.clock import Clock
from app.timing.schedule import Schedule

RESOLUTION_MS = 100
OVERHEAD_BYTES = 800  # of a stored message beside its text, measured
MAX_REMEMBERED = 10_000  # acknowledgements of all users
STORED_MS = (
    60_000  # how long persisted messages are kept here too, so that they keep their order while the archive is away
)

# The envelope, its expiry, its slot in the schedule, its size, and whether it was sent to a session. A tuple, because a
# class takes longer to create. Times are ms of the monotonic clock, so that a step of the wall clock expires nothing.
_Entry = tuple[Envelope, float, int, int, bool]
_Id = tuple[str, str]
"""User and message id."""


class _Log:
    """The latest messages of a user with the time of each in ms; `floor` is the seq before the first."""

    __slots__ = ("entries", "floor")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.entries: deque[tuple[int, Envelope]] = deque()


class MemoryStore:
    """The messages of all users, of one node or shared by several in tests. `limits.window_ms` 0: no log is kept."""

    def __init__(self, limits: MailboxLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._inboxes: dict[str, dict[str, _Entry]] = {}
        self._schedule: Schedule[Envelope] = Schedule(RESOLUTION_MS)
        self._stored: dict[str, dict[str, tuple[Envelope, float, int]]] = {}  # persisted messages, until when, slots
        self._stored_until: Schedule[Envelope] = Schedule(RESOLUTION_MS)
        self._known: dict[_Id, tuple[str, float]] = {}  # the digest, and when it expires
        self._known_until: Schedule[_Id] = Schedule(RESOLUTION_MS)
        self._acknowledged: OrderedDict[_Id, int] = OrderedDict()  # and when, in ms since 1970
        self._watchers: dict[str, int] = {}
        self._heads: dict[str, int] = {}  # of users that are watched or have a log
        self._logs: dict[str, _Log] = {}
        self._seq = 0
        self.size_bytes = 0

    # Accepting

    def put(
        self, envelope: Envelope, *, keep: Keep, kind: Kind, digest: str, forward: Callable[[Envelope, int], int]
    ) -> Placed:
        """`forward` sends the message to the other nodes and returns how many watch its receiver."""
        receiver, message_id = envelope.receiver, envelope.message.id
        if kind is not NEW and (known := self._find(kind, (receiver, message_id))) is not None:
            return Placed(known=known)
        size = len(envelope.encoder) + OVERHEAD_BYTES
        if keep is ALWAYS:
            self._require_room(receiver, size)
        now_ms = self._clock.epoch_ms()
        seq = now_ms * 1000
        self._seq = envelope.seq = seq = seq if seq > self._seq else self._seq + 1
        if envelope.persisted:
            envelope.acked_ms = self._acknowledged.get((receiver, message_id), 0)
        previous = self._heads.get(receiver, 0)
        others = forward(envelope, previous)
        is_heard = others > 0 or receiver in self._watchers
        if keep is ALWAYS or (keep is UNHEARD and not is_heard):
            if keep is UNHEARD:
                self._require_room(receiver, size)
            self._keep(receiver, envelope, size, is_heard, now_ms)
            keep = ALWAYS
        elif envelope.persisted and not envelope.acked_ms and self.size_bytes + size <= self.limits.max_bytes:
            self._store(envelope, size)
        if self.limits.window_ms:
            self._append(envelope, previous)
        elif receiver in self._watchers:
            self._heads[receiver] = seq
        if kind is GIVEN:
            expires = self._monotonic(envelope.expires_ms)
            self._known[receiver, message_id] = digest, expires
            self._known_until.add((receiver, message_id), expires)
        return Placed(seq, previous, others, keep is ALWAYS)

    def _find(self, kind: Kind, key: _Id) -> str | None:
        if kind is GIVEN:
            digest, expires = self._known.get(key, (None, 0.0))
            return digest if expires > self._clock.monotonic() * 1000 else None
        log = self._logs.get(key[0]) if kind is AGAIN else None
        is_logged = log is not None and any(envelope.message.id == key[1] for _, envelope in log.entries)
        return "" if is_logged else None

    def _require_room(self, receiver: str, size: int) -> None:
        entries = self._inboxes.get(receiver)
        if entries and len(entries) >= self.limits.max_messages:
            raise inbox_full(receiver, len(entries))
        if self.size_bytes + size > self.limits.max_bytes:
            raise Unavailable("the inboxes of all users together are full", retry_after_s=RETRY_AFTER_S)

    def _keep(self, receiver: str, envelope: Envelope, size: int, is_heard: bool, now_ms: int) -> None:
        expires = self._clock.monotonic() * 1000 + envelope.expires_ms - now_ms
        slot = self._schedule.add(envelope, expires)
        message_id, entries = envelope.message.id, self._inboxes.get(receiver)
        if entries is None:
            entries = self._inboxes[receiver] = {}
        elif message_id in entries:
            self._remove(receiver, message_id)
            self._inboxes[receiver] = entries
        entries[message_id] = envelope, expires, slot, size, is_heard
        self.size_bytes += size

    def _store(self, envelope: Envelope, size: int) -> None:
        until = self._clock.monotonic() * 1000 + (self.limits.window_ms or STORED_MS)
        slot = self._stored_until.add(envelope, until)
        self._stored.setdefault(envelope.receiver, {})[envelope.message.id] = envelope, until, slot
        self.size_bytes += size

    def _monotonic(self, epoch_ms: int) -> float:
        """Return a time of the wall clock as ms of the monotonic one."""
        return self._clock.monotonic() * 1000 + epoch_ms - self._clock.epoch_ms()

    def _append(self, envelope: Envelope, previous: int) -> None:
        user, now_ms = envelope.receiver, self._clock.epoch_ms()
        log = self._logs.get(user)
        if log is None:
            log = self._logs[user] = _Log(previous)
        log.entries.append((now_ms, envelope))
        self._heads[user] = envelope.seq
        while log.entries[0][0] < now_ms - self.limits.window_ms:
            log.floor = log.entries.popleft()[1].seq

    # Reading

    def head(self, user: str) -> int:
        return self._heads.get(user, 0)

    def read(self, user: str, now_ms: int) -> Sequence[Envelope]:
        inbox, waiting, now = self._inboxes.get(user), [], self._monotonic(now_ms)
        for message_id, (envelope, expires, slot, size, was_sent) in tuple(inbox.items()) if inbox else ():
            if expires > now:
                expires_ms = now_ms + round(expires - now)
                waiting.append(replace(envelope, was_sent=was_sent, expires_ms=expires_ms))
                self._inboxes[user][message_id] = envelope, expires, slot, size, True
        if (stored := self._stored.get(user)) is not None:
            waiting += [envelope for envelope, until, _ in stored.values() if until > now]
            waiting.sort(key=lambda envelope: envelope.seq)
        return waiting

    def after(self, user: str, cursor: int) -> Missed:
        head, log = self.head(user), self._logs.get(user)
        if head == cursor:
            return Missed(head)
        envelopes = [envelope for _, envelope in log.entries] if log else []
        seqs = [envelope.seq for envelope in envelopes]
        if cursor in seqs:
            return Missed(head, envelopes[seqs.index(cursor) + 1 :])
        if log is not None and log.floor == cursor:
            return Missed(head, envelopes)
        is_new = head == 0 if log is None else log.floor == 0
        return Missed(head, envelopes, is_new=True) if is_new else Missed(head, is_lost=True)

    # Removing

    def acknowledge(self, user: str, message_id: str) -> None:
        if self._remove(user, message_id) and not self.limits.window_ms:
            return  # it was in this inbox only, so it cannot come again
        if self._stored:
            self._drop_stored(user, message_id)
        self._acknowledged.setdefault((user, message_id), self._clock.epoch_ms())
        if len(self._acknowledged) > MAX_REMEMBERED:
            self._acknowledged.popitem(last=False)

    def _drop_stored(self, user: str, message_id: str) -> None:
        stored = self._stored.get(user)
        entry = stored.pop(message_id, None) if stored else None
        if stored is not None and entry is not None:
            envelope, _, slot = entry
            self._stored_until.discard(envelope, slot)
            self.size_bytes -= len(envelope.encoder) + OVERHEAD_BYTES
            if not stored:
                del self._stored[user]

    def _remove(self, user: str, message_id: str) -> bool:
        entries = self._inboxes.get(user)
        entry = entries.pop(message_id, None) if entries else None
        if entries is None or entry is None:
            return False
        envelope, _, slot, size, _ = entry
        self._schedule.discard(envelope, slot)
        self.size_bytes -= size
        if not entries:
            del self._inboxes[user]
        return True

    def is_acknowledged(self, user: str, message_id: str) -> bool:
        return (user, message_id) in self._acknowledged

    def waits(self, user: str, message_id: str) -> bool:
        return message_id in self._inboxes.get(user, ())

    def watch(self, user: str) -> None:
        if user not in self._heads:
            self._heads[user] = self._seq if not self.limits.window_ms else 0
        self._watchers[user] = self._watchers.get(user, 0) + 1

    def unwatch(self, user: str) -> None:
        left = self._watchers.pop(user, 1) - 1
        if left:
            self._watchers[user] = left
        elif user not in self._logs:
            self._heads.pop(user, None)

    def expire(self, now_ms: int) -> None:
        now = self._monotonic(now_ms)
        for envelope in self._schedule.pop_due(now):
            self._remove(envelope.receiver, envelope.message.id)
        for envelope in self._stored_until.pop_due(now):
            self._drop_stored(envelope.receiver, envelope.message.id)
        for key in self._known_until.pop_due(now):
            if key in self._known and self._known[key][1] <= now:
                del self._known[key]


class MemoryMailbox:
    """A store as one node sees it. Calls take effect before they return."""

    is_durable = False

    def __init__(
        self, store: MemoryStore, forward: Callable[[Envelope, int], int] = lambda envelope, previous: 0
    ) -> None:
        self._store = store
        self._forward = forward
        self.remember_ms = store.limits.remember_ms
        self.acknowledge = store.acknowledge
        self.watch = store.watch
        self.unwatch = store.unwatch
        self.expire = store.expire

    async def put(
        self,
        envelope: Envelope,
        *,
        keep: Keep = ALWAYS,
        kind: Kind = NEW,
        digest: str = "",
        on_accepted: Callable[[Placed], None] = lambda placed: None,
    ) -> Placed:
        placed = self._store.put(envelope, keep=keep, kind=kind, digest=digest, forward=self._forward)
        if placed.known is None:
            on_accepted(placed)
        return placed

    def read(self, user: str, now_ms: int, on_head: Callable[[int], None]) -> Sequence[Envelope]:
        envelopes = self._store.read(user, now_ms)
        on_head(self._store.head(user))
        return envelopes

    def catch_up(self, user: str, cursor: int, on_answer: Callable[[Missed], None]) -> None:
        on_answer(self._store.after(user, cursor))

    def confirmation(self, user: str, message_id: str) -> None:
        """Return None: acknowledgements take effect at once."""

    async def acknowledged(self, user: str, ids: Sequence[str]) -> Sequence[bool]:
        return [self._store.is_acknowledged(user, message_id) for message_id in ids]

    async def find(self, message_id: str) -> None:
        """Return None: the delivery log of this process knows all that is known."""

    async def fate(self, user: str, message_id: str) -> Fate:
        if self._store.is_acknowledged(user, message_id):
            return Fate.ACKNOWLEDGED
        return Fate.WAITS if self._store.waits(user, message_id) else Fate.UNKNOWN
