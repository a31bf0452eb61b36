"""Access to the push routes: an API key, or a token with the scope `push`."""

from app.auth.api_keys import ApiKeys, key_principal
from app.auth.bearer import bearer_token
from app.auth.ports import Authenticator
from app.errors import Forbidden, Unauthorized

PUSH_SCOPE = "push"
ANONYMOUS = "anonymous"


class PushAccess:
    """`required` False (dev): no credential is needed, but an API key that was given must be one of the keys."""

    def __init__(self, *, keys: ApiKeys, authenticator: Authenticator, required: bool) -> None:
        self._keys = keys
        self._authenticator = authenticator
        self._required = required

    async def check(self, *, api_key: str | None, authorization: str | None) -> str:
        """Return the principal: who the caller is, whichever of their credentials they used.

        Raises Unauthorized without a valid credential, Forbidden for a token without the scope.
        """
        if api_key is not None:
            if (self._keys or self._required) and not self._keys.verify(api_key):
                raise Unauthorized("the X-API-Key is not known")
            return key_principal(api_key)
        if not self._required:
            return await self._unproven(authorization)
        if authorization is None:
            raise Unauthorized("an X-API-Key, or a bearer token with the scope push, is needed")
        identity = await self._authenticator.authenticate(bearer_token(authorization))
        if PUSH_SCOPE not in identity.scopes:
            raise Forbidden(f"the token has not the scope {PUSH_SCOPE}")
        return identity.principal

    async def _unproven(self, authorization: str | None) -> str:
        """Return the principal where no credential is required. An invalid token counts as none."""
        if authorization is None:
            return ANONYMOUS
        try:
            return (await self._authenticator.authenticate(bearer_token(authorization))).principal
        except Unauthorized:
            return ANONYMOUS
