"""The tokens of development."""

from app.auth.ports import Authenticator, Identity
from app.errors import Unauthorized


class DevAuthenticator:
    """Takes any token that starts with `test` as the user id itself; proves nothing, so never for production.

    Every other token goes to `fallback`, if there is one. No JWT is taken away from it: their first character is `e`
    (the base64url form of `{"`).
    """

    def __init__(self, fallback: Authenticator | None = None) -> None:
        self._fallback = fallback

    async def authenticate(self, token: str) -> Identity:
        if token.startswith("test"):
            return Identity(token, realm="dev")
        if self._fallback is None:
            raise Unauthorized("the token does not start with 'test', and no way to verify other tokens is configured")
        return await self._fallback.authenticate(token)
