"""Find the subscription that a SUBSCRIBE or UNSUBSCRIBE names. In 1.0 the destination may stand for the id."""

from collections.abc import Mapping
from unicodedata import normalize

from app.stomp.errors import ProtocolError
from app.stomp.events import Subscription
from app.stomp.frames import AckMode, Frame, Version


def subscription_of(frame: Frame, version: Version) -> tuple[str, Subscription]:
    """Return the subscription that a SUBSCRIBE asks for, and its key in the session. Raises ProtocolError."""
    destination = frame.required("destination")
    subscription_id = frame.headers.get("id") or None
    if version is not Version.V10:
        subscription_id = frame.required("id")
    return subscription_id or destination, Subscription(subscription_id, destination, _ack_mode(frame))


def _ack_mode(frame: Frame) -> AckMode:
    text = frame.headers.get("ack", AckMode.AUTO)
    try:
        return AckMode(text)
    except ValueError:
        raise ProtocolError(
            "bad ack mode", f"ack is {text[:32]!r}, one of auto, client, client-individual was expected"
        ) from None


def key_to_end(frame: Frame, version: Version, subscriptions: Mapping[str, Subscription]) -> str:
    """Return the key of the subscription that an UNSUBSCRIBE ends, which may be unknown. Raises ProtocolError.

    1.0: "It requires either a destination header or an id header". A destination also ends a subscription with an id:
    of several, the one without an id, else the oldest.
    """
    if version is not Version.V10:
        return frame.required("id")
    key = frame.headers.get("id") or frame.required("destination")
    destination = frame.headers.get("destination")
    if key in subscriptions or not destination:
        return key
    if destination in subscriptions:
        return destination
    wanted = normalize("NFC", destination)  # destinations are compared in this form
    return next((key for key, known in subscriptions.items() if normalize("NFC", known.destination) == wanted), key)
