"""The ledger in Redis, for all to see. This node decides from memory, and writes behind what it decided."""

import asyncio
import sys
from collections.abc import Iterator, Sequence

from app.cluster.keys import ledger_field, ledger_keys, ledger_partition
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.node import ClusterNode
from app.delivery.log import Record
from app.timing.write_behind import WriteBehind

PAUSE_S = 0.005
FAILOVER_S = 10.0  # by so much can a replica be behind when it takes over
MAX_CHANGED = 10_000_000  # far more than there are records: MAX_UNACKED_PER_SESSION bounds those
PART_BYTES = 1_048_576  # of one command


class RedisLedger(MemoryLedger):
    """`run` must be running.

    What is written is the state of a record at that moment, never a step that was taken before: a record that was
    acknowledged while something older was on its way to Redis stays acknowledged.
    """

    label = "ACK-REDIS"

    def __init__(self, cluster: ClusterNode, *, partitions: int = 1) -> None:
        super().__init__()
        self._client = cluster.client
        self._keys = ledger_keys(partitions)
        self._suffix = b',"node":"%b"}' % cluster.name.encode()
        self._changed: WriteBehind[tuple[str, str]] = WriteBehind(
            self._write, gather_s=0.0, pause_s=PAUSE_S, max_waiting=MAX_CHANGED, remember_s=FAILOVER_S
        )
        self._written: set[tuple[str, str]] = set()
        cluster.client.on_up(lambda channels: self.write_all())
        cluster.members.on_lease_lost(self.write_all)

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._changed.run()

    async def flush(self) -> None:
        """Raises Unavailable."""
        await self._changed.flush()

    @property
    def unapplied(self) -> int:
        """Changes that Redis does not know of yet: at most one for each record that is or was open."""
        return len(self._changed)

    def write_all(self) -> None:
        """Redis may have lost what was on its way, its latest changes, or all."""
        for record in self.open_records():
            self._note(record)
        for item in self._changed.recent():
            self._written.add(item)  # so that it is removed, if it is not open
            self._changed.note(item)

    def open(self, record: Record, *, at_most: int = sys.maxsize) -> bool:
        is_open = super().open(record, at_most=at_most)
        if is_open:
            self._note(record)
        return is_open

    def reschedule(self, record: Record, due_s: float) -> None:
        super().reschedule(record, due_s)
        self._note(record)

    def _release(self, record: Record) -> None:
        super()._release(record)
        self._note(record)

    def _note(self, record: Record) -> None:
        self._changed.note((record.session_id, record.message_id))

    async def _write(self, records: Sequence[tuple[str, str]]) -> None:
        """One HSET and one HDEL for each partition, however many records. Raises Unavailable."""
        added: dict[str, list[str | bytes]] = {}
        removed: dict[str, list[str]] = {}
        gone = []
        for session_id, message_id in records:
            key = self._keys[ledger_partition(message_id, len(self._keys))]
            field = ledger_field(message_id, session_id)
            record = self.get(session_id, message_id)
            if record is not None:
                self._written.add((session_id, message_id))
                added.setdefault(key, []).extend((field, self._value(record)))
            elif (session_id, message_id) in self._written:
                self._written.discard((session_id, message_id))
                removed.setdefault(key, []).append(field)
                gone.append((session_id, message_id))
        try:
            await asyncio.gather(
                *(self._client.call(key, "HDEL", key, *fields) for key, fields in removed.items()),
                *(self._client.call(key, "HSET", key, *part) for key, pairs in added.items() for part in _parts(pairs)),
            )
        except BaseException:
            self._written.update(gone)  # they may be there still, and are noted again
            raise

    def _value(self, record: Record) -> bytes:
        """The message as it was last sent, with the node that has the session behind."""
        assert record.envelope is not None, "an open record has its message"
        text = record.envelope.encoder.encode(ack_retry_count=record.attempt - 1, ack_last_sent=record.sent_ms)
        return text[:-1] + self._suffix


def _parts(pairs: list[str | bytes]) -> Iterator[list[str | bytes]]:
    """Fields and values in their order, no more than PART_BYTES at a time unless one value is larger."""
    start = size = 0
    for index in range(0, len(pairs), 2):
        size += len(pairs[index + 1])
        if size > PART_BYTES and index > start:
            yield pairs[start:index]
            start, size = index, len(pairs[index + 1])
    yield pairs[start:]
