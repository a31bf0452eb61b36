"""What the store keeps of a message for push_status, when no node may remember it."""

from app.delivery.mailbox import Described
from app.messages.message import Envelope


def description(envelope: Envelope) -> str:
    """Return the text, behind which comes how many nodes heard the message."""
    message = envelope.message
    flags = f"{int(envelope.acknowledged)}{int(envelope.persisted)}"
    return f"{message.created} {envelope.expires_ms} {flags} {message.type} {envelope.receiver}\n"


def described_by(text: str) -> Described | None:
    """None for a text of another form."""
    try:
        head, heard = text.rsplit("\n", 1)
        created, expires, flags, type, receiver = head.split(" ", 4)
        return Described(receiver, type, int(created), int(expires), flags[0] == "1", flags[1] == "1", int(heard) > 0)
    except (ValueError, IndexError):
        return None
