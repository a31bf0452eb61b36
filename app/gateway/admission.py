"""Admission of a session: a token proves the user, and a user may have a limited number of sessions."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from secrets import token_hex

from app.auth.bearer import bearer_token
from app.disconnects import DisconnectReason
from app.errors import InvalidMessage, Unauthorized
from app.gateway.services import Services
from app.hub.session import Session
from app.hub.transport import Transport
from app.stomp.events import Connect
from app.stomp.frames import Version

CLIENT_ID = re.compile(r"[!-~]{1,64}")


async def authenticate(
    services: Services,
    connect: Connect,
    version: Version,
    transport: Transport,
    end: Callable[[DisconnectReason], None],
) -> Session:
    """Return the session of the user that the token proves; it is not counted in yet. Raises ServiceError."""
    client_id = client_id_of(connect)
    identity = await services.authenticator.authenticate(token_of(connect))
    return Session(
        id=token_hex(8),
        user=identity.user,
        version=version,
        transport=transport,
        connected_ms=services.clock.epoch_ms(),
        client_id=client_id,
        end=end,
    )


async def count_in(services: Services, session: Session, retire: Callable[[str], Awaitable[None]]) -> None:
    """Count the session among those of its user, and `retire` the one of this node that it replaces.

    Raises SessionLimit, and Unavailable where the number of sessions cannot be known.
    """
    try:
        limit = services.options.max_sessions_per_user
        replaced = await services.presence.join(session.user, session.id, limit, session.client_id)
        if replaced is not None:
            await retire(replaced)
    except asyncio.CancelledError:  # the client has gone; it may have been counted all the same
        services.presence.leave(session.user, session.id)
        raise


def client_id_of(event: Connect) -> str | None:
    """Return the `client-id` of a CONNECT, None if it has none. Raises InvalidMessage."""
    client_id = event.headers.get("client-id")
    if client_id is not None and not CLIENT_ID.fullmatch(client_id):
        raise InvalidMessage(f"client-id is {client_id[:64]!r}; 1 to 64 visible ASCII characters were expected")
    return client_id


def token_of(event: Connect) -> str:
    """Return the token of a CONNECT: `Authorization`, else `passcode`. Raises Unauthorized.

    Some clients always send an empty login and passcode beside `Authorization`.
    """
    headers = event.headers
    value = headers.get("Authorization") or headers.get("authorization")
    token = bearer_token(value) if value else headers.get("passcode", "")
    if not token:
        raise Unauthorized("CONNECT carries no token: the header Authorization: Bearer <token> was expected")
    return token
