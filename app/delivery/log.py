"""The delivery log: the latest messages and their outcomes, for push_status and for ids that are used twice."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Self

from msgspec import Struct, field
from msgspec.structs import replace

from app.errors import IdConflict
from app.messages.message import Envelope, MessageEncoder, NotifyMessage

MAX_RECORDS = 32  # of one message; a user who reconnects all the time shall not fill the memory


class PushOutcome(Struct, frozen=True):
    """The outcome of a push. `sessions` of this node received the message at once.

    `replayed`: this is the outcome of an earlier push of the same id. `unreached`: nodes that may not have received a
    broadcast.
    """

    id: str
    receiver: str | None
    status: Literal["sent", "stored"]
    sessions: int
    replayed: bool = False
    unreached: Sequence[str] = ()


class Record(Struct, eq=False):
    """One message sent to one session. It is in the ledger while it has its `envelope`, and in the log for longer.

    `due_s` and `expires_s` are monotonic seconds, `sent_ms` and `acked_ms` since 1970; `attempt` numbers the sendings
    of the message to its receiver, `retries` those to this session after the first.
    """

    trace: "Trace"
    session_id: str
    envelope: Envelope | None
    attempt: int
    sent_ms: int
    due_s: float
    expires_s: float
    retries: int = 0
    slot: int = 0
    acked_ms: int | None = None

    @property
    def message_id(self) -> str:
        return self.trace.id


class Trace(Struct, eq=False):
    """A message without its body. `digest` tells whether an id comes with the same content again."""

    id: str
    receiver: str | None
    type: str
    created_ms: int
    expires_ms: int
    acknowledged: bool = True
    persisted: bool = False
    digest: int | None = None
    outcome: PushOutcome | None = None
    attempts: int = 0
    acked_ms: int | None = None
    records: dict[str, Record] = field(default_factory=dict)
    is_forgotten: bool = False
    """It has left the log and keeps no records, which would be a reference cycle that only the collector breaks."""

    @classmethod
    def of(cls, envelope: Envelope, digest: int | None) -> Self:
        message = envelope.message
        return cls(
            message.id,
            message.receiver,
            message.type,
            message.created,
            envelope.expires_ms,
            envelope.acknowledged,
            envelope.persisted,
            digest,
        )

    @property
    def is_new(self) -> bool:
        """Whether no session can have the message: its id was made for this push, and nothing has been sent."""
        return self.digest is None and not self.attempts and not self.persisted

    def compare(self, digest: int | None) -> None:
        """Raises IdConflict if what was pushed before under this id had other content."""
        if digest != self.digest:
            raise IdConflict(f"the id {self.id} was pushed before with other content")

    def add(self, record: Record) -> None:
        if self.is_forgotten:
            return
        if len(self.records) >= MAX_RECORDS:
            del self.records[next(iter(self.records))]
        self.records[record.session_id] = record

    def acknowledge(self, session_id: str, now_ms: int) -> None:
        """Record an acknowledgement of a message that is not in the ledger now."""
        if self.acked_ms is None:
            self.acked_ms = now_ms
        record = self.records.get(session_id)
        if record is not None and record.acked_ms is None:
            record.acked_ms = now_ms

    def forget(self) -> None:
        """Drop the records. Those that are open in the ledger keep this trace until they are closed."""
        self.is_forgotten = True
        self.records.clear()

    def status(self, now_ms: int) -> Literal["stored", "sent", "delivered", "expired"]:
        if self.acked_ms is not None:
            return "delivered"
        if self.attempts and not self.acknowledged:
            return "sent"
        is_open = any(record.envelope is not None for record in self.records.values())  # whatever the wall clock says
        if now_ms >= self.expires_ms and not self.persisted and not is_open:
            return "expired"
        return "sent" if self.attempts else "stored"


def accepted_elsewhere(envelope: Envelope) -> Trace:
    """Return a trace without outcome, for a message that another node accepted or this node has forgotten."""
    return Trace.of(envelope, None)


def broadcast_trace(message: NotifyMessage, digest: int, now_ms: int) -> Trace:
    """Return the trace of a message that is sent once, now."""
    return Trace(
        id=message.id,
        receiver=None,
        type=message.type,
        created_ms=message.created,
        expires_ms=now_ms,
        acknowledged=False,
        digest=digest,
        attempts=1,
    )


def digest_of(destination: str, encoder: MessageEncoder) -> int:
    """Return a 64-bit digest of destination and content, the same in every process."""
    content = b"%b\n%b" % (destination.encode(), encoder.content)
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")


class DeliveryLog:
    """The last `size` traces by message id; older ones are forgotten."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Of a plain dict the oldest is found behind all that were taken out before: 30 µs for a message in a full log.
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self.get = self._traces.get
        """The trace of a message id, or None. No method: it is asked with every acknowledgement."""

    def __len__(self) -> int:
        return len(self._traces)

    def open_traces(self) -> Sequence[Trace]:
        """Return the traces of messages whose acknowledgement is outstanding."""
        return [trace for trace in self._traces.values() if trace.acknowledged and trace.acked_ms is None]

    def add(self, trace: Trace) -> None:
        self.discard(trace.id)
        if len(self._traces) >= self._size:
            _, oldest = self._traces.popitem(last=False)
            oldest.forget()
        self._traces[trace.id] = trace

    def discard(self, message_id: str) -> None:
        trace = self._traces.pop(message_id, None)
        if trace is not None:
            trace.forget()

    def replay(self, again: Trace) -> PushOutcome | None:
        """Return the outcome of an earlier push of this id, None if it is not known here. Raises IdConflict.

        Where another node pushed it, or the push failed, the mailbox knows.
        """
        trace = self.get(again.id)
        if trace is None or trace.outcome is None:
            return None
        again.compare(trace.digest)
        return replace(trace.outcome, replayed=True)

    def trace_of(self, envelope: Envelope) -> Trace:
        """Return the trace of a message, and add one if the log has none."""
        trace = self.get(envelope.message.id)
        if trace is None or trace.receiver != envelope.receiver:
            trace = accepted_elsewhere(envelope)
            self.add(trace)
        return trace
