"""What a client sends to `/app/ack`."""

from collections.abc import Callable, Sequence

from app.gateway.routing import Rejected, json_of, text_of
from app.messages.ids import is_message_id, message_id_problem

MAX_ACK_IDS = 1_000


def parse_ack_ids(body: bytes, is_known: Callable[[str], bool]) -> Sequence[str]:
    """One id as it stands, one as a JSON string, or a JSON array of ids. Raises Rejected.

    `is_known` finds most ids sooner than a look at each character.
    """
    text = text_of(body)
    if is_known(text) or is_message_id(text := text.strip()):
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
