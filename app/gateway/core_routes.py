"""The application destinations that every user of the service knows."""

from collections.abc import Sequence

from app.gateway.routing import AppMessage, DestinationRoutes, Rejected
from app.hub.prepared import Publication
from app.messages.destinations import APP_ACK, APP_SEND_MESSAGE, TOPIC_MESSAGES
from app.messages.ids import is_message_id, message_id_problem

MAX_ACK_IDS = 1_000
TEXT = "text/plain;charset=utf-8"
OCTETS = "application/octet-stream"

core_routes = DestinationRoutes()


@core_routes.message(APP_ACK)
def acknowledge(message: AppMessage) -> None:
    for message_id in parse_ack_ids(message):
        message.delivery.acknowledge(message.session, message_id)


@core_routes.message(APP_SEND_MESSAGE)
async def send_message(message: AppMessage) -> None:
    await publish_as_sent(message, TOPIC_MESSAGES)


async def publish_as_sent(message: AppMessage, destination: str) -> None:
    """The body as it came, to all subscribers of a topic on all nodes, at most once."""
    try:
        message.body.decode()
        binary = False
    except UnicodeDecodeError:
        binary = True
    await message.delivery.publish(
        Publication(
            message_id=message.delivery.new_id(),
            destination=destination,
            body=message.body,
            content_type=_content_type(message.headers.get("content-type"), OCTETS if binary else TEXT),
            binary=binary,
        )
    )


def parse_ack_ids(message: AppMessage) -> Sequence[str]:
    """One id as it stands, one as a JSON string, or a JSON array of ids."""
    text = message.text().strip()
    if is_message_id(text):  # nearly always
        return (text,)
    value = message.json() if text[:1] in ("[", '"') else text
    ids = value if isinstance(value, list) else [value]
    if len(ids) > MAX_ACK_IDS:
        raise Rejected(f"{len(ids)} ids in one acknowledgement, at most {MAX_ACK_IDS} are allowed")
    for message_id in ids:
        if not isinstance(message_id, str):
            raise Rejected("an acknowledgement is one message id or a JSON array of message ids")
        if problem := message_id_problem(message_id):
            raise Rejected(f"{message_id[:64]!r} is not a message id: {problem}")
    return ids


def _content_type(given: str | None, default: str) -> str:
    """What the sender said, as far as it can be written as a header in every STOMP version."""
    return given if given and len(given) <= 128 and given.isprintable() else default
