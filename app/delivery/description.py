"""The description of a message that the store keeps for push_status after the nodes have forgotten it."""

from app.delivery.mailbox import Described
from app.messages.message import Envelope


def description(envelope: Envelope) -> str:
    """Return the description of a message. The store appends how many nodes received it."""
    message = envelope.message
    flags = f"{int(envelope.acknowledged)}{int(envelope.persisted)}"
    return f"{message.created} {envelope.expires_ms} {flags} {message.type} {envelope.receiver}\n"


def described_by(text: str) -> Described | None:
    """Parse a description. Return None for a text of another form."""
    try:
        head, heard = text.rsplit("\n", 1)
        created, expires, flags, type, receiver = head.split(" ", 4)
        return Described(receiver, type, int(created), int(expires), flags[0] == "1", flags[1] == "1", int(heard) > 0)
    except (ValueError, IndexError):
        return None
