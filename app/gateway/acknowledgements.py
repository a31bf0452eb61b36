"""Parses the body of a SEND to `/app/ack`."""

from collections.abc import Sequence

from app.gateway.routing import Rejected, json_of, text_of
from app.messages.ids import is_message_id, message_id_problem

MAX_ACK_IDS = 1_000


def parse_ack_ids(body: bytes) -> Sequence[str]:
    """Return the ids of a body: one bare id, one JSON string, or a JSON array of ids. Raises Rejected."""
    text = text_of(body).strip()
    if is_message_id(text):
        return (text,)
    value = json_of(body) if text[:1] in ("[", '"') else text
    ids = value if isinstance(value, list) else [value]
    if len(ids) > MAX_ACK_IDS:
        raise Rejected(f"{len(ids)} ids in one acknowledgement, at most {MAX_ACK_IDS} are allowed")
    for message_id in ids:
        if not isinstance(message_id, str):
            raise Rejected("an acknowledgement is one message id or a JSON array of message ids")
        if problem := message_id_problem(message_id):
            raise Rejected(f"{message_id[:64]!r} is not a message id: {problem}")
    return ids
