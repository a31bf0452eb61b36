"""The documents of a base URL, and what forms bring."""

import json

import pytest

from app.sockjs.protocol.pages import etag, iframe, info, is_known, payload_of_form

FORM = "application/x-www-form-urlencoded"


def test_iframe_loads_the_client_from_where_it_is_told() -> None:
    page = iframe('https://cdn.test/a.js?x=1&y="<')

    assert b'<script src="https://cdn.test/a.js?x=1&amp;y=&quot;&lt;"></script>' in page
    assert page.startswith(b"<!DOCTYPE html>")
    assert etag(page) == etag(page) != etag(iframe("https://other.test/"))


@pytest.mark.parametrize("known", ['"a1"', 'W/"a1"', '"b2", W/"a1"', '"a1","b2"'])
def test_document_is_known_by_its_tag_among_others(known: str) -> None:
    assert is_known('"a1"', known)


@pytest.mark.parametrize("known", ["", '"b2"', '"a12"', '"xa1"', "a1"])
def test_document_is_not_known_by_another_tag(known: str) -> None:
    assert not is_known('"a1"', known)


def test_info_says_what_clients_ask() -> None:
    facts = json.loads(info(websocket=False, cookie_needed=True, entropy=7))

    assert facts == {"websocket": False, "origins": ["*:*"], "cookie_needed": True, "entropy": 7}


@pytest.mark.parametrize(
    ("body", "content_type", "payload"),
    [
        (b"d=%5B%22x%22%5D", FORM, b'["x"]'),
        (b"a=b&d=%5B%22+%C3%BC%22%5D", FORM + "; charset=UTF-8", '[" ü"]'.encode()),
        (b'["%61"]', "text/plain", b'["%61"]'),
        (b'["x"]', "", b'["x"]'),
        (b"", FORM, b""),
        (b"d=", FORM, b""),
        (b"p=p", FORM, b""),
        (b"d=\xff", FORM, b""),
        (b"&".join([b"d=1"] * 50), FORM, b""),
    ],
)
def test_payload_of_a_form_is_its_field_d(body: bytes, content_type: str, payload: bytes) -> None:
    assert payload_of_form(body, content_type) == payload
