"""Who a back end is, whichever of its credentials it uses."""

from hashlib import sha256

import pytest

from app.auth.access import PushAccess
from app.auth.api_keys import ApiKeys
from app.auth.ports import Identity
from app.errors import Forbidden, Unauthorized, Unavailable

KEY = "key-of-a-back-end-1"


class Tokens:
    """Knows two tokens of one back end, one of a user, and one of a provider that is away."""

    async def authenticate(self, token: str) -> Identity:
        if token == "away":
            raise Unavailable("no keys")
        if token not in ("old", "new", "user"):
            raise Unauthorized("unknown")
        return Identity("bob", frozenset(() if token == "user" else ("push",)), "jwt:idp")


def access(*keys: str, required: bool = True) -> PushAccess:
    return PushAccess(keys=ApiKeys(keys), authenticator=Tokens(), required=required)


@pytest.mark.parametrize("required", [True, False])
async def test_all_tokens_of_a_user_are_one_caller(required: bool) -> None:
    door = access(KEY, required=required)
    for token in ("old", "new"):
        assert await door.check(api_key=None, authorization=f"Bearer {token}") == "jwt:idp:bob"


@pytest.mark.parametrize("required", [True, False])
async def test_an_api_key_is_named_by_its_digest(required: bool) -> None:
    principal = await access(KEY, required=required).check(api_key=KEY, authorization="Bearer old")
    assert principal == f"key:{sha256(KEY.encode()).hexdigest()}"
    with pytest.raises(Unauthorized):
        await access(KEY, required=required).check(api_key="other", authorization="Bearer old")


async def test_where_nothing_is_needed_who_proves_nothing_is_anonymous() -> None:
    door = access(required=False)
    for authorization in (None, "Bearer wrong", "Bearer "):
        assert await door.check(api_key=None, authorization=authorization) == "anonymous"
    assert await door.check(api_key=None, authorization="user") == "jwt:idp:bob"
    assert await door.check(api_key="any", authorization=None) != await door.check(api_key="two", authorization=None)
    with pytest.raises(Unavailable):  # not another caller than the next time
        await door.check(api_key=None, authorization="away")


async def test_where_a_credential_is_needed_the_scope_is_too() -> None:
    with pytest.raises(Forbidden):
        await access().check(api_key=None, authorization="user")
    with pytest.raises(Unauthorized):
        await access().check(api_key=None, authorization=None)
