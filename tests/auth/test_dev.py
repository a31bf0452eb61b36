import pytest

from app.auth.dev import DevAuthenticator
from app.auth.ports import Identity
from app.errors import Unauthorized


class Fallback:
    async def authenticate(self, token: str) -> Identity:
        if token != "eyJ.good":
            raise Unauthorized("the fallback does not know it")
        return Identity("bob", frozenset({"push"}))


@pytest.mark.parametrize("token", ["test", "test1", "test-user-7"])
async def test_a_token_that_starts_with_test_is_the_user_id_itself(token: str) -> None:
    assert await DevAuthenticator(Fallback()).authenticate(token) == Identity(token)


async def test_the_principal_of_a_test_token_says_that_it_proves_nothing() -> None:
    assert (await DevAuthenticator().authenticate("test1")).principal == "dev:test1"


@pytest.mark.parametrize("token", ["test/1", "test\n", "test ", "test" * 33])
async def test_a_test_token_obeys_the_rule_for_user_ids(token: str) -> None:
    with pytest.raises(Unauthorized):
        await DevAuthenticator().authenticate(token)


async def test_any_other_token_is_judged_by_the_fallback() -> None:
    authenticator = DevAuthenticator(Fallback())
    assert await authenticator.authenticate("eyJ.good") == Identity("bob", frozenset({"push"}))
    with pytest.raises(Unauthorized, match="the fallback does not know it"):
        await authenticator.authenticate("eyJ.bad")


@pytest.mark.parametrize("token", ["bob", "Test1", "1test", ""])
async def test_without_a_fallback_any_other_token_is_unauthorized(token: str) -> None:
    with pytest.raises(Unauthorized, match="does not start with 'test'"):
        await DevAuthenticator().authenticate(token)
