"""Who may read the answers, and who may keep them."""

import pytest

from app.sockjs.protocol.headers import cached_for_a_year, cross_origin, preflight, sticky_cookie


@pytest.mark.parametrize(
    ("origin", "allowed"), [(None, "*"), ("", "*"), ("null", "null"), ("https://a.test", "https://a.test")]
)
def test_origin_is_echoed_if_there_is_one(origin: str | None, allowed: str) -> None:
    headers = cross_origin({} if origin is None else {"origin": origin})

    assert headers["Access-Control-Allow-Origin"] == allowed
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Vary"] == "Origin"


def test_origin_that_is_none_was_anybody_once() -> None:
    assert cross_origin({"origin": "null"}, echo_null=False)["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(("asked", "allowed"), [("a, b", "a, b"), ("", None)])
def test_headers_that_were_asked_for_are_allowed(asked: str, allowed: str | None) -> None:
    headers = cross_origin({"access-control-request-headers": asked})

    assert headers.get("Access-Control-Allow-Headers") == allowed


def test_preflight_says_the_method_for_a_year() -> None:
    assert preflight("POST") == {
        "Access-Control-Allow-Methods": "OPTIONS, POST",
        "Access-Control-Max-Age": "31536000",
    }
    assert cached_for_a_year("then") == {"Cache-Control": "public, max-age=31536000", "Expires": "then"}


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("", "dummy"),
        ("a=b", "dummy"),
        ("JSESSIONID=abcdef", "abcdef"),
        ("a=b; JSESSIONID=x.y-z; c=d", "x.y-z"),
        ("XJSESSIONID=no", "dummy"),
        ("JSESSIONID=", "dummy"),
        ("JSESSIONID= ; a=b", "dummy"),
        ("JSESSIONID=a b,c ; d=e", "a b,c"),
        ('JSESSIONID="0000abc:1!x"; a=b', '"0000abc:1!x"'),
    ],
)
def test_cookie_is_the_one_that_is_there(cookies: str, value: str) -> None:
    assert sticky_cookie(cookies) == {"Set-Cookie": f"JSESSIONID={value}; path=/"}
