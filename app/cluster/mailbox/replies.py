"""Decode the replies of the mailbox scripts."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from app.cluster.wire import decode_entry, decode_logged
from app.delivery.mailbox import Missed
from app.messages.message import Envelope

logger = logging.getLogger(__name__)


def missed(reply: Sequence[Any], now_ms: int) -> Missed:
    """Decode a reply of CATCH_UP. A log entry that cannot be read makes the history lost."""
    if reply[0] == b"lost":
        return Missed(int(reply[1]), is_lost=True)
    kind, head, more, entries, server_ms = reply
    envelopes = tuple(_logged(entries, now_ms, server_ms))
    if len(envelopes) < len(entries):
        return Missed(int(head), is_lost=True)
    return Missed(int(head), envelopes, bool(more), is_new=kind == b"new")


def _logged(entries: Iterable[bytes], now_ms: int, server_ms: int) -> Iterable[Envelope]:
    for entry in entries:
        try:
            yield decode_logged(entry, now_ms=now_ms, server_ms=server_ms)
        except ValueError as error:
            logger.warning("a log entry cannot be read: %s", error)


def decoded(values: Iterable[bytes | None], now_ms: int, server_ms: int, unread_from: int) -> Iterable[Envelope]:
    """Decode inbox and log entries. Invalid ones are logged and skipped."""
    for value in values:
        if value is None:  # removed while the others were read
            continue
        try:
            yield decode_entry(value, now_ms=now_ms, server_ms=server_ms, unread_from=unread_from)
        except ValueError as error:
            logger.warning("an inbox entry cannot be read: %s", error)


def parts(sizes: Sequence[tuple[bytes, int]], most_bytes: int) -> Iterable[list[bytes]]:
    """Batches of ids whose values total at most `most_bytes`, or of one id."""
    part: list[bytes] = []
    total = 0
    for message_id, size in sizes:
        if part and total + size > most_bytes:
            yield part
            part, total = [], 0
        part.append(message_id)
        total += size
    yield part
