import pytest

from app.auth.ports import Identity, check_user_id
from app.errors import Unauthorized


def test_a_valid_user_id_comes_back_as_it_was() -> None:
    assert check_user_id("bob smith") == "bob smith"


@pytest.mark.parametrize("user", ["", "a/b", "a\x00", " a", "\ud800", "x" * 129])
def test_an_identity_cannot_exist_with_a_user_id_that_no_push_could_reach(user: str) -> None:
    with pytest.raises(Unauthorized, match=r"^the user id of the token must not"):
        Identity(user)


def test_an_identity_has_no_scopes_unless_they_are_given() -> None:
    assert Identity("bob") == Identity("bob", frozenset())


def test_the_principal_is_the_user_of_a_realm() -> None:
    assert Identity("bob").principal == "user:bob"
    assert Identity("bob", realm="ldap").principal == "ldap:bob"
    assert Identity("bob", realm="ldap") == Identity("bob")
