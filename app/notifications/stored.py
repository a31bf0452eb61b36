"""Stored messages as the delivery sees them."""

from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.notifications.tables import NotifyLog


def stored_envelope(message: NotifyMessage, expires_ms: int, *, was_sent: bool = False, seq: int = 0) -> Envelope:
    """Return the envelope of a persisted message, without the data it was made from."""
    envelope = Envelope(
        message=message,
        encoder=MessageEncoder(message),
        expires_ms=expires_ms,
        persisted=True,
        was_sent=was_sent,
        seq=seq,
    )
    return envelope.without_data()


def message_of(row: NotifyLog) -> NotifyMessage:
    return NotifyMessage(
        id=row.id, type=row.type, receiver=row.receiver, data=row.data, created=row.created, viewed=row.viewed
    )
