"""The identity of a client, and the port that verifies it."""

from dataclasses import dataclass, field
from typing import Protocol

from app.errors import InvalidMessage, Unauthorized
from app.messages.receivers import receiver_name


def check_user_id(user: str) -> str:
    """Return the one spelling of `user`, or raise `Unauthorized` if no push could ever be addressed to it."""
    try:
        return receiver_name(user, "the user id of the token")
    except InvalidMessage as error:
        raise Unauthorized(error.detail) from None


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that a token proves. `user` is in its canonical spelling. Raises `Unauthorized` for an invalid one.

    The service itself asks only for the scope `push` (push and session routes); all others are kept for applications.
    `realm` says who vouches for the user, and contains no secret.
    """

    user: str
    scopes: frozenset[str] = frozenset()
    realm: str = field(default="user", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "user", check_user_id(self.user))

    @property
    def principal(self) -> str:
        """The name of the caller, the same for all their tokens: `jwt:<issuer>:<user>`, `dev:<user>`."""
        return f"{self.realm}:{self.user}"


class Authenticator(Protocol):
    """Turns the token of a client into an identity. Bring your own with `create_app(authenticator=…)`:

        class SessionCookies:
            def __init__(self, sessions: SessionStore) -> None:
                self._sessions = sessions

            async def authenticate(self, token: str) -> Identity:
                session = await self._sessions.find(token)
                if session is None:
                    raise Unauthorized("no such session")
                return Identity(session.user_id, frozenset({"push"} if session.is_service else ()))

    It is called once for each STOMP CONNECT and each HTTP request that needs a user, many at a time, on the event loop:
    it must not block, and it caches what is worth it. It must be safe to call from the moment it is handed over. Its
    resources stay its maker's: the service never closes it. A session is not asked again when its token expires.
    """

    async def authenticate(self, token: str) -> Identity:
        """Return who `token` belongs to. It is not empty and has no `Bearer` before it; nothing else is known of it.

        Raises `Unauthorized` when the token proves nothing: the client is told to stay away (401, close 4510). The
        detail says for the log what was wrong and never contains the token. Raises `Unavailable` when that cannot be
        known now (503, to be tried again). Any other exception counts as a defect.
        """
