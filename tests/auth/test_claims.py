import math

import pytest

from app.auth.claims import ClaimRules, identity_from_claims, parse_claims
from app.auth.ports import Identity
from app.errors import Unauthorized

NOW_S = 1_000_000.0
LENIENT = ClaimRules(require_exp=False)


def identify(claims: dict[str, object], rules: ClaimRules = LENIENT) -> Identity:
    return identity_from_claims(claims, rules, now_s=NOW_S)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[" * 100_000, b'{"exp":' + b"9" * 5000 + b"}"])
def test_claims_that_are_not_json_are_unauthorized(payload: bytes) -> None:
    with pytest.raises(Unauthorized, match="not JSON"):
        parse_claims(payload)


@pytest.mark.parametrize("payload", [b"[]", b'"sub"', b"null", b"1"])
def test_claims_that_are_no_object_are_unauthorized(payload: bytes) -> None:
    with pytest.raises(Unauthorized, match="not a JSON object"):
        parse_claims(payload)


@pytest.mark.parametrize("exp", [NOW_S - 9, NOW_S + 1, int(NOW_S), 10**400])
def test_a_token_lives_until_its_expiration_and_the_leeway_beyond(exp: float) -> None:
    assert identify({"sub": "bob", "exp": exp}).user == "bob"


@pytest.mark.parametrize("exp", [NOW_S - 10, NOW_S - 11, 0, -(10**400)])
def test_a_token_has_expired_once_the_leeway_is_over(exp: float) -> None:
    with pytest.raises(Unauthorized, match="expired"):
        identify({"sub": "bob", "exp": exp})


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future_is_not_valid_before_the_leeway(claim: str) -> None:
    assert identify({"sub": "bob", claim: NOW_S + 10}).user == "bob"
    with pytest.raises(Unauthorized, match=f"not valid yet \\({claim}\\)"):
        identify({"sub": "bob", claim: NOW_S + 11})


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["9999999999", True, None, [], math.inf, math.nan, -math.inf])
def test_a_time_must_be_a_finite_number(claim: str, value: object) -> None:
    with pytest.raises(Unauthorized, match=f"the claim {claim} is not a number"):
        identify({"sub": "bob", claim: value})


@pytest.mark.parametrize("claims", [{}, {"exp": None}])
def test_a_token_without_expiration_is_refused_where_it_is_required(claims: dict[str, object]) -> None:
    with pytest.raises(Unauthorized, match="no expiration"):
        identify({"sub": "bob"} | claims, ClaimRules())


def test_a_token_without_expiration_is_accepted_where_it_is_not_required() -> None:
    assert identify({"sub": "bob"}, ClaimRules(require_exp=False)).user == "bob"


def test_the_leeway_is_a_rule() -> None:
    with pytest.raises(Unauthorized, match="expired"):
        identify({"sub": "bob", "exp": NOW_S - 1}, ClaimRules(leeway_s=0))


@pytest.mark.parametrize("claims", [{}, {"iss": "other"}, {"iss": None}, {"iss": ["us"]}, {"iss": "us/"}])
def test_a_token_of_another_issuer_is_unauthorized(claims: dict[str, object]) -> None:
    rules = ClaimRules(issuer="us", require_exp=False)
    assert identify({"sub": "bob", "iss": "us"}, rules).user == "bob"
    with pytest.raises(Unauthorized, match="JWT_ISSUER"):
        identify({"sub": "bob"} | claims, rules)


@pytest.mark.parametrize("aud", ["push", ["push"], ["mail", "push"]])
def test_the_audience_is_one_string_or_one_of_a_list(aud: object) -> None:
    assert identify({"sub": "bob", "aud": aud}, ClaimRules(audience="push", require_exp=False)).user == "bob"


@pytest.mark.parametrize(
    "claims", [{}, {"aud": "mail"}, {"aud": []}, {"aud": ["mail"]}, {"aud": "pushpush"}, {"aud": 1}]
)
def test_a_token_for_another_audience_is_unauthorized(claims: dict[str, object]) -> None:
    with pytest.raises(Unauthorized, match="JWT_AUDIENCE"):
        identify({"sub": "bob"} | claims, ClaimRules(audience="push", require_exp=False))


def test_a_token_for_an_audience_is_unauthorized_where_none_is_configured() -> None:
    with pytest.raises(Unauthorized, match="JWT_AUDIENCE is not set"):
        identify({"sub": "bob", "aud": "push"})


@pytest.mark.parametrize(("value", "user"), [("bob", "bob"), (42, "42"), (0, "0"), (-1, "-1"), (42.0, "42")])
def test_the_user_is_a_string_or_an_integer(value: object, user: str) -> None:
    assert identify({"sub": value}).user == user


@pytest.mark.parametrize("value", [None, True, 1.5, 2.0**53, math.inf, math.nan, [], {"id": 1}])
def test_a_user_of_another_type_is_unauthorized(value: object) -> None:
    with pytest.raises(Unauthorized, match="JWT_USER_CLAIM"):
        identify({"sub": value})


def test_a_token_without_the_user_claim_is_unauthorized() -> None:
    with pytest.raises(Unauthorized, match="JWT_USER_CLAIM"):
        identify({"sub": "bob"}, ClaimRules(user_claim="uid", require_exp=False))


def test_the_user_claim_is_a_rule() -> None:
    rules = ClaimRules(user_claim="uid", require_exp=False)
    assert identify({"sub": 1.5, "uid": "ann"}, rules).user == "ann"


@pytest.mark.parametrize("user", ["", "a/b", " bob", "b\nob", "x" * 129, 10**200])
def test_the_user_obeys_the_rule_for_user_ids(user: object) -> None:
    with pytest.raises(Unauthorized, match="the user id of the token must not"):
        identify({"sub": user})


@pytest.mark.parametrize("claim", ["scope", "scopes", "scp"])
@pytest.mark.parametrize("value", ["push  admin", ["push", "admin"], ["push", 7, None, "admin"]])
def test_scopes_are_a_string_or_a_list_under_any_of_three_names(claim: str, value: object) -> None:
    assert identify({"sub": "bob", claim: value}).scopes == {"push", "admin"}


def test_the_scopes_of_all_three_names_add_up() -> None:
    assert identify({"sub": "bob", "scope": "a", "scopes": ["b"], "scp": "c"}).scopes == {"a", "b", "c"}


@pytest.mark.parametrize("value", [None, 7, {"push": True}, ""])
def test_scopes_in_another_form_grant_nothing(value: object) -> None:
    assert identify({"sub": "bob", "scope": value}).scopes == frozenset()


@pytest.mark.parametrize(
    ("issuer", "principal"),
    [
        ("https://idp.test", "jwt:https%3A//idp.test:bob"),
        (None, "jwt::bob"),
        (7, "jwt::bob"),
        ("a:b", "jwt:a%3Ab:bob"),
        ("\ud800", "jwt:%ED%A0%80:bob"),
    ],
)
def test_the_principal_is_the_user_of_the_issuer(issuer: object, principal: str) -> None:
    claims: dict[str, object] = {"sub": "bob"} if issuer is None else {"sub": "bob", "iss": issuer}
    assert identify(claims).principal == principal
