"""Which headers of a SEND reach the subscribers.

1.2, "MESSAGE": "MESSAGE frames will also include all user-defined headers that were present when the message was
sent to the destination in addition to the server specific headers that MAY get added to the frame."
"""

from collections.abc import Mapping

SERVER_HEADERS = frozenset(
    {
        "ack",
        "attempt",
        "content-length",
        "content-type",
        "destination",
        "message-id",
        "receipt",
        "redelivered",
        "subscription",
        "transaction",
    }
)
"""What the server says itself on a MESSAGE, and what a SEND asks of the server."""

CREDENTIALS = frozenset(
    {
        "api-key",
        "authorization",
        "client-id",
        "cookie",
        "login",
        "passcode",
        "proxy-authorization",
        "x-access-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-xsrf-token",
    }
)
"""In lower case. Client libraries add those of CONNECT to every frame, and no subscriber may learn them."""


def user_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the user-defined headers of a SEND in their order, without credentials in any case."""
    if SERVER_HEADERS.issuperset(headers):  # as nearly always
        return ()
    return tuple(
        [
            header
            for header in headers.items()
            if header[0] not in SERVER_HEADERS and header[0].lower() not in CREDENTIALS
        ]
    )
