import pytest

from app.auth.bearer import bearer_token
from app.errors import Unauthorized


@pytest.mark.parametrize(
    "value",
    ["Bearer abc", "bearer abc", "BEARER abc", "  Bearer   abc  ", "Bearer\tabc", "abc", " abc\t"],
)
def test_the_token_is_found_with_and_without_its_scheme(value: str) -> None:
    assert bearer_token(value) == "abc"


@pytest.mark.parametrize("value", ["", "  ", "Bearer", "bearer ", " Bearer \t "])
def test_a_value_without_a_token_is_unauthorized(value: str) -> None:
    with pytest.raises(Unauthorized, match="no token"):
        bearer_token(value)


@pytest.mark.parametrize("value", ["Bearerabc", "bearer.abc", "Basic abc"])
def test_what_only_looks_like_the_scheme_belongs_to_the_token(value: str) -> None:
    assert bearer_token(value) == value
