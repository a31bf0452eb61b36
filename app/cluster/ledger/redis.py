"""The ledger in Redis, for inspection and other nodes. This node reads its own memory and writes behind."""

import asyncio
import sys
from collections.abc import Iterator, Sequence

from app.cluster.keys import ledger_field, ledger_keys, ledger_partition
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.node import ClusterNode
from app.delivery.log import Record
from app.timing.write_behind import WriteBehind

PAUSE_S = 0.005
FAILOVER_S = 10.0  # the most that a promoted replica lags behind
MAX_CHANGED = 10_000_000  # never reached: MAX_UNACKED_PER_SESSION bounds the records
PART_BYTES = 1_048_576  # of one command


class RedisLedger(MemoryLedger):
    """A MemoryLedger that mirrors its records to Redis. `run` must be running.

    It writes the state of a record at the time of writing, not a queued step. So a record that is acknowledged while
    an older write is on its way stays acknowledged.
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
        """Write changes until cancelled."""
        await self._changed.run()

    async def flush(self) -> None:
        """Write the changes that wait. Raises Unavailable."""
        await self._changed.flush()

    @property
    def unapplied(self) -> int:
        """The number of records whose change is not in Redis yet."""
        return len(self._changed)

    def write_all(self) -> None:
        """Write all open records and recent changes again, because Redis may have lost them."""
        for record in self.open_records():
            self._note(record)
        for item in self._changed.recent():
            self._written.add(item)  # so that it is removed from Redis if it is not open
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
        """Write records with one HDEL and one HSET per partition and PART_BYTES. Raises Unavailable."""
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
            self._written.update(gone)  # they may still be in Redis; the caller notes them again
            raise

    def _value(self, record: Record) -> bytes:
        """Return the JSON of the message as last sent, with the node of the session appended."""
        assert record.envelope is not None, "an open record has its message"
        text = record.envelope.encoder.encode(ack_retry_count=record.attempt - 1, ack_last_sent=record.sent_ms)
        return text[:-1] + self._suffix


def _parts(pairs: list[str | bytes]) -> Iterator[list[str | bytes]]:
    """Split fields and values into batches of at most PART_BYTES, or of one larger value."""
    start = size = 0
    for index in range(0, len(pairs), 2):
        size += len(pairs[index + 1])
        if size > PART_BYTES and index > start:
            yield pairs[start:index]
            start, size = index, len(pairs[index + 1])
    yield pairs[start:]
