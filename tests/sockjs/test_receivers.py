"""The other HTTP transports of SockJS, cookies and text, on raw HTTP."""

import json
import re

import pytest

from tests.sockjs.site import FORM, HTML, JAVASCRIPT, PLAIN, Site, assert_not_cached, open_site, session

# EventSource, HtmlFile


async def test_eventsource(site: Site) -> None:
    path = session()
    reply, stream = await site.stream(site.echo, path + "/eventsource")

    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream; charset=UTF-8")
    assert_not_cached(reply)
    assert [await stream.chunk() for _ in range(2)] == [b"\r\n", b"data: o\r\n\r\n"]
    await site.echo.post(path + "/xhr_send", '["x"]')
    assert await stream.chunk() == b'data: a["x"]\r\n\r\n'
    await site.echo.post(path + "/xhr_send", r'["  \u0000\n\r "]')
    assert await stream.chunk() == rb'data: a["  \u0000\n\r "]' + b"\r\n\r\n"


async def test_htmlfile(site: Site) -> None:
    path = session()
    reply, stream = await site.stream(site.echo, path + "/htmlfile?c=%63allback")

    assert (reply.status, reply.headers["content-type"]) == (200, HTML)
    assert_not_cached(reply)
    head = await stream.chunk()
    assert len(head) > 1024
    assert head.decode().strip() == (
        "<!doctype html>\n<html><head>\n"
        '  <meta http-equiv="X-UA-Compatible" content="IE=edge" />\n'
        '  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />\n'
        "</head><body><h2>Don't panic!</h2>\n  <script>\n    document.domain = document.domain;\n"
        "    var c = parent.callback;\n    c.start();\n    function p(d) {c.message(d);};\n"
        "    window.onload = function() {c.stop();};\n  </script>"
    )
    assert await stream.chunk() == b'<script>\np("o");\n</script>\r\n'
    await site.echo.post(path + "/xhr_send", '["x"]')
    assert await stream.chunk() == b'<script>\np("a[\\"x\\"]");\n</script>\r\n'


@pytest.mark.parametrize(
    ("path", "opening", "wrapped"),
    [
        ("/eventsource", b"data: o\r\n\r\n", 'data: a["{}"]\r\n\r\n'),
        ("/htmlfile?c=cb", b'<script>\np("o");\n</script>\r\n', '<script>\np("a[\\"{}\\"]");\n</script>\r\n'),
    ],
)
async def test_other_streams_end_at_the_limit_too(site: Site, path: str, opening: bytes, wrapped: str) -> None:
    id = session()
    _, stream = await site.stream(site.echo, id + path)
    await stream.chunk()
    assert await stream.chunk() == opening
    text = "x" * 4096

    await site.echo.post(id + "/xhr_send", json.dumps([text]))

    assert (await stream.chunk()).decode() == wrapped.format(text)
    assert await stream.chunk() == b""


@pytest.mark.parametrize("path", ["/htmlfile", "/jsonp"])
@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", '"callback" parameter required'),
        ("?c=", '"callback" parameter required'),
        ("?c=%20", 'invalid "callback" parameter'),
        ("?c=*", 'invalid "callback" parameter'),
        ("?c=abc(", 'invalid "callback" parameter'),
        ("?c=abc%28", 'invalid "callback" parameter'),
        ("?callback=%3Cscript%3E", 'invalid "callback" parameter'),
    ],
)
async def test_callback_has_to_be_a_name(site: Site, path: str, query: str, problem: str) -> None:
    reply = await site.echo.get("/a/a" + path + query)

    assert (reply.status, reply.headers["content-type"]) == (500, PLAIN)
    assert problem in reply.text


# JSONP


async def test_jsonp_polling(site: Site) -> None:
    path = session()
    opening = await site.echo.get(path + "/jsonp?c=%63allback")
    sending = await site.echo.post(path + "/jsonp_send", "d=%5B%22x%22%5D", **FORM)
    receiving = await site.echo.get(path + "/jsonp?c=%63allback")

    assert (opening.status, opening.headers["content-type"], opening.text) == (200, JAVASCRIPT, 'callback("o");\r\n')
    assert (sending.status, sending.headers["content-type"], sending.text) == (200, PLAIN, "ok")
    assert receiving.text == 'callback("a[\\"x\\"]");\r\n'
    for reply in (opening, sending, receiving):
        assert_not_cached(reply)


async def test_eventsource_of_the_service_names_no_charset() -> None:
    async with open_site(protocol_0_3_3=False) as site:
        reply, _ = await site.stream(site.echo, session() + "/eventsource")
        assert reply.headers["content-type"] == "text/event-stream"


async def test_jsonp_of_the_service_begins_with_a_comment() -> None:
    async with open_site(protocol_0_3_3=False) as site:
        reply = await site.echo.get(session() + "/jsonp?c=x")
        assert reply.text == '/**/x("o");\r\n'


async def test_jsonp_body_may_be_no_form(site: Site) -> None:
    path = session()
    await site.echo.get(path + "/jsonp?c=x")
    assert (await site.echo.post(path + "/jsonp_send", "d=%5B%22abc%22%5D", **FORM)).text == "ok"
    assert (await site.echo.post(path + "/jsonp_send", '["%61bc"]', content_type="text/plain")).text == "ok"
    assert (await site.echo.get(path + "/jsonp?c=x")).text == 'x("a[\\"abc\\",\\"%61bc\\"]");\r\n'


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("d=%5B%22x", "Broken JSON encoding."),
        ("", "Payload expected."),
        ("d=", "Payload expected."),
        ("p=p", "Payload expected."),
    ],
)
async def test_jsonp_form_without_an_array_is_refused(site: Site, body: str, text: str) -> None:
    path = session()
    await site.echo.get(path + "/jsonp?c=x")

    reply = await site.echo.post(path + "/jsonp_send", body, **FORM)

    assert (reply.status, reply.text) == (500, text)
    assert (await site.echo.post(path + "/jsonp_send", "d=%5B%22b%22%5D", **FORM)).text == "ok"
    assert (await site.echo.get(path + "/jsonp?c=x")).text == 'x("a[\\"b\\"]");\r\n'


async def test_jsonp_is_told_of_the_close_each_time(site: Site) -> None:
    path = session()
    texts = [(await site.close.get(path + "/jsonp?c=x")).text for _ in range(3)]

    close = 'x("c[3000,\\"Go away!\\"]");\r\n'
    assert texts == ['x("o");\r\n', close, close]


# Cookies


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("/xhr", "/xhr_streaming")),
        *(("GET", path) for path in ("/eventsource", "/htmlfile?c=cb", "/jsonp?c=cb")),
    ],
)
async def test_cookie_is_set_where_it_is_needed(site: Site, method: str, path: str) -> None:
    reply, _ = await site.stream(site.with_cookie, session() + path, method)
    assert reply.headers["set-cookie"] == "JSESSIONID=dummy; path=/"


async def test_cookie_that_is_there_is_set_again(site: Site) -> None:
    path = session()
    reply = await site.with_cookie.post(path + "/xhr", cookie="a=b; JSESSIONID=abcdef")
    assert reply.headers["set-cookie"] == "JSESSIONID=abcdef; path=/"
    reply = await site.with_cookie.post(path + "/xhr_send", '["x"]', cookie="JSESSIONID=abcdef")
    assert reply.headers["set-cookie"] == "JSESSIONID=abcdef; path=/"


async def test_cookie_may_be_in_a_header_of_its_own(site: Site) -> None:
    headers = {"Cookie": "a=b", "cookie": 'JSESSIONID="0001!2"'}
    reply = await site.with_cookie.request("POST", session() + "/xhr", headers)
    assert reply.headers["set-cookie"] == 'JSESSIONID="0001!2"; path=/'


# What browsers make of it


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("/xhr", "/xhr_streaming")),
        *(("GET", path) for path in ("/eventsource", "/htmlfile?c=cb", "/jsonp?c=cb")),
    ],
)
async def test_browsers_take_frames_for_nothing_but_what_they_are(site: Site, method: str, path: str) -> None:
    reply, _ = await site.stream(site.echo, session() + path, method)
    assert reply.headers["x-content-type-options"] == "nosniff"


# Text


def every(pattern: str, first: int = 0) -> list[str]:
    return [chr(code) for code in range(first, 0x10000) if re.match(pattern, chr(code))]


async def test_server_escapes_what_browsers_mangle(site: Site) -> None:
    characters = every("[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]", 255)
    path = session()
    await site.echo.post(path + "/xhr")

    await site.echo.post(path + "/xhr_send", f'["{"".join(characters)}"]')

    escaped = "".join(f"\\u{ord(character):04x}" for character in characters)
    assert (await site.echo.post(path + "/xhr")).text == f'a["{escaped}"]\n'


async def test_server_understands_all_that_clients_escape(site: Site) -> None:
    text = "".join(map(chr, range(0x10000)))
    path = session()
    await site.echo.post(path + "/xhr")

    for part in (text[start : start + 400] for start in range(0, len(text), 4096)):
        await site.echo.post(path + "/xhr_send", "[" + json.dumps(part) + "]")
        body = (await site.echo.post(path + "/xhr")).body
        assert json.loads(body[1:].decode()) == [json.loads(json.dumps(part))]
