"""Who may open a session: a token proves a user, who may have so many of them."""

import asyncio
import re
from secrets import token_hex
from typing import TYPE_CHECKING

from app.auth.bearer import bearer_token
from app.errors import InvalidMessage, Unauthorized
from app.gateway.services import Services
from app.hub.session import Session
from app.stomp.events import Connect
from app.stomp.frames import Version

if TYPE_CHECKING:
    from app.gateway.connection import Connection

CLIENT_ID = re.compile(r"[!-~]{1,64}")


async def admit(services: Services, connection: "Connection", connect: Connect, version: Version) -> Session:
    """A session that has been counted in, and is the only one of its device on this node. Raises ServiceError."""
    client_id = client_id_of(connect)
    identity = await services.authenticator.authenticate(token_of(connect))
    user, session_id = identity.user, token_hex(8)
    services.admitting(connection, session_id)
    try:
        replaced = await services.presence.join(user, session_id, services.options.max_sessions_per_user, client_id)
        if replaced is not None:
            await services.retire(replaced)
    except asyncio.CancelledError:  # the client has gone; it may have been counted all the same
        services.presence.leave(user, session_id)
        raise
    return Session(
        id=session_id,
        user=user,
        version=version,
        transport=connection.transport,
        connected_ms=services.clock.epoch_ms(),
        client_id=client_id,
    )


def client_id_of(event: Connect) -> str | None:
    """The device that the client says it is. Raises InvalidMessage."""
    client_id = event.headers.get("client-id")
    if client_id is not None and not CLIENT_ID.fullmatch(client_id):
        raise InvalidMessage(f"client-id is {client_id[:64]!r}; 1 to 64 visible ASCII characters were expected")
    return client_id


def token_of(event: Connect) -> str:
    """`Authorization`, else `passcode`: some clients always send an empty login and passcode beside it."""
    headers = event.headers
    value = headers.get("Authorization") or headers.get("authorization")
    token = bearer_token(value) if value else headers.get("passcode", "")
    if not token:
        raise Unauthorized("CONNECT carries no token: the header Authorization: Bearer <token> was expected")
    return token
