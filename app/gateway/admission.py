"""Who may open a session: a token proves a user, who may have so many of them."""

import asyncio
from secrets import token_hex

from app.auth.bearer import bearer_token
from app.errors import Unauthorized
from app.gateway.services import Services
from app.stomp.events import Connect


async def admit(services: Services, connect: Connect) -> tuple[str, str]:
    """The user, and the id of a session that has been counted in. Raises ServiceError."""
    identity = await services.authenticator.authenticate(token_of(connect))
    user, session_id = identity.user, token_hex(8)
    try:
        await services.presence.join(user, session_id, services.options.max_sessions_per_user)
    except asyncio.CancelledError:  # the client has gone; it may have been counted all the same
        services.presence.leave(user, session_id)
        raise
    return user, session_id


def token_of(event: Connect) -> str:
    """`Authorization`, else `passcode`: some clients always send an empty login and passcode beside it."""
    headers = event.headers
    value = headers.get("Authorization") or headers.get("authorization")
    token = bearer_token(value) if value else headers.get("passcode", "")
    if not token:
        raise Unauthorized("CONNECT carries no token: the header Authorization: Bearer <token> was expected")
    return token
