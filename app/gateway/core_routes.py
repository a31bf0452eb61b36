"""The built-in application destinations. `/app/ack` is not among them: `dispatch` handles it."""

from app.gateway.headers import user_headers
from app.gateway.routing import AppMessage, DestinationRoutes
from app.hub.publication import Publication
from app.messages.destinations import APP_SEND_MESSAGE, TOPIC_MESSAGES

TEXT = "text/plain;charset=utf-8"
OCTETS = "application/octet-stream"

core_routes = DestinationRoutes()


@core_routes.message(APP_SEND_MESSAGE)
async def send_message(message: AppMessage) -> None:
    await publish_as_sent(message, TOPIC_MESSAGES)


async def publish_as_sent(message: AppMessage, destination: str) -> None:
    """Publish body and user-defined headers unchanged to the subscribers of a topic on all nodes, at most once."""
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
            headers=user_headers(message.headers),
            content_type=message.headers.get("content-type") or (OCTETS if binary else TEXT),
            binary=binary,
        )
    )
