"""SockJS sessions over XHR, on raw HTTP: status, headers, bytes."""

import asyncio
import gzip
import json
import uuid

import pytest

from app.sockjs.protocol.receivers import XHR_PRELUDE
from tests.sockjs.site import (
    FORM,
    JAVASCRIPT,
    PLAIN,
    Site,
    assert_cross_origin,
    assert_no_cookie,
    assert_not_cached,
    session,
)
from tests.transports.raw_http import Exchange

# Sessions


@pytest.mark.parametrize("path", ["/a/a", "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"])
async def test_segments_are_anything(site: Site, path: str) -> None:
    reply = await site.echo.post(path + "/xhr")

    assert (reply.status, reply.body) == (200, b"o\n")


@pytest.mark.parametrize("path", ["//", "/a./a", "/a/a.", "/./.", "/", "///", "/a", "/a/a/a"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_segments_are_two_without_dots(site: Site, path: str, method: str) -> None:
    assert (await site.echo.request(method, path + "/xhr")).status == 404


async def test_server_segment_means_nothing(site: Site) -> None:
    id = uuid.uuid4()
    assert (await site.echo.post(f"/000/{id}/xhr")).body == b"o\n"
    assert (await site.echo.post(f"/000/{id}/xhr_send", '["a"]')).status == 204
    assert (await site.echo.post(f"/999/{id}/xhr")).body == b'a["a"]\n'


async def test_endpoints_know_nothing_of_the_sessions_of_others(site: Site) -> None:
    path = session()
    assert (await site.echo.post(path + "/xhr")).body == b"o\n"
    assert (await site.with_cookie.post(path + "/xhr_send", '["a"]')).status == 404
    assert (await site.with_cookie.post(path + "/xhr")).body == b"o\n"


async def test_session_that_was_closed_says_so_again_and_again(site: Site) -> None:
    path = session()
    bodies = [(await site.close.post(path + "/xhr")).body for _ in range(3)]

    assert bodies == [b"o\n", b'c[3000,"Go away!"]\n', b'c[3000,"Go away!"]\n']
    assert (await site.close.post(path + "/xhr_send", '["late"]')).status == 204


async def test_second_request_that_receives_is_sent_away(site: Site) -> None:
    path = session()
    assert (await site.echo.post(path + "/xhr")).body == b"o\n"
    async with Exchange(site.port) as first:
        await first.send("POST", f"/echo{path}/xhr")
        await asyncio.sleep(0.05)
        second = await site.echo.post(path + "/xhr")
        assert (second.status, second.body) == (200, b'c[2010,"Another connection still open"]\n')
        await site.echo.post(path + "/xhr_send", '["still here"]')
        reply = await first.head()
        assert await first.exactly(int(reply.headers["content-length"])) == b'a["still here"]\n'


async def test_second_stream_is_sent_away_and_ends(site: Site) -> None:
    path = session()
    _, first = await site.stream(site.echo, path + "/xhr_streaming", "POST")
    assert [await first.chunk() for _ in range(2)] == [XHR_PRELUDE, b"o\n"]

    _, second = await site.stream(site.echo, path + "/xhr_streaming", "POST")

    assert await second.chunk() == XHR_PRELUDE
    assert await second.chunk() == b'c[2010,"Another connection still open"]\n'
    assert await second.chunk() == b""


async def test_close_unlinks_the_request_that_was_there(site: Site) -> None:
    path = session()
    _, first = await site.stream(site.close, path + "/xhr_streaming", "POST")
    assert [await first.chunk() for _ in range(4)] == [XHR_PRELUDE, b"o\n", b'c[3000,"Go away!"]\n', b""]
    _, second = await site.stream(site.close, path + "/xhr_streaming", "POST")
    assert [await second.chunk() for _ in range(3)] == [XHR_PRELUDE, b'c[3000,"Go away!"]\n', b""]


async def test_stream_that_breaks_ends_its_session(site: Site) -> None:
    path = session()
    _, first = await site.stream(site.echo, path + "/xhr_streaming", "POST")
    assert [await first.chunk() for _ in range(2)] == [XHR_PRELUDE, b"o\n"]
    first.writer.close()

    await asyncio.sleep(0.05)

    _, again = await site.stream(site.echo, path + "/xhr_streaming", "POST")
    assert [await again.chunk() for _ in range(3)] == [XHR_PRELUDE, b'c[1002,"Connection interrupted"]\n', b""]


async def test_poll_that_breaks_ends_its_session(site: Site) -> None:
    path = session()
    assert (await site.echo.post(path + "/xhr")).body == b"o\n"
    async with Exchange(site.port) as poll:
        await poll.send("POST", f"/echo{path}/xhr")
        await asyncio.sleep(0.05)

    await asyncio.sleep(0.05)

    assert (await site.echo.post(path + "/xhr")).body == b'c[1002,"Connection interrupted"]\n'


# XHR


async def test_xhr_polling(site: Site) -> None:
    path = session()
    opening = await site.echo.post(path + "/xhr")
    sending = await site.echo.post(path + "/xhr_send", '["x"]')
    receiving = await site.echo.post(path + "/xhr", origin="https://a.test")

    assert (opening.status, opening.headers["content-type"], opening.body) == (200, JAVASCRIPT, b"o\n")
    assert (sending.status, sending.headers["content-type"], sending.body) == (204, PLAIN, b"")
    assert (receiving.status, receiving.body) == (200, b'a["x"]\n')
    for reply in (opening, sending, receiving):
        assert_not_cached(reply)
        assert_no_cookie(reply)
    assert_cross_origin(sending)
    assert_cross_origin(receiving, "https://a.test")


async def test_who_asks_before_sending_is_told_to_go_on(site: Site) -> None:
    path = session()
    await site.echo.post(path + "/xhr")
    async with Exchange(site.port) as exchange:
        await exchange.send("POST", f"/echo{path}/xhr_send", {"Expect": "100-continue", "Content-Length": "5"})
        assert (await exchange.head()).status == 100
        exchange.writer.write(b'["x"]')
        assert (await exchange.head()).status == 204
    assert (await site.echo.post(path + "/xhr")).body == b'a["x"]\n'


async def test_body_for_an_unknown_session_is_neither_read_nor_parsed(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        await exchange.send("POST", f"/echo{session()}/xhr_send", {"Content-Length": "400000"})
        assert (await exchange.head()).status == 404  # before any byte of it
    for action in ("xhr_send", "jsonp_send"):
        reply = await site.echo.post(f"{session()}/{action}", b"no JSON, no form")
        assert (reply.status, reply.text) == (404, "Not Found")


@pytest.mark.parametrize(("coding", "status"), [("gzip", 204), ("deflate", 400), ("br", 415)])
async def test_body_may_be_compressed(site: Site, coding: str, status: int) -> None:
    path = session()
    assert (await site.echo.post(f"{path}/xhr")).body == b"o\n"
    body = gzip.compress(b'["a"]')

    reply = await site.echo.post(f"{path}/xhr_send", body, content_encoding=coding)

    assert reply.status == status
    assert reply.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
    if status == 204:
        assert (await site.echo.post(f"{path}/xhr")).body == b'a["a"]\n'


async def test_who_asks_whether_to_send_too_much_is_told_no(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        headers = {"Expect": "100-continue", "Content-Length": "999999999"}
        await exchange.send("POST", f"/echo{session()}/xhr_send", headers)
        reply = await exchange.head()
        assert (reply.status, reply.headers["connection"]) == (413, "close")


async def test_sending_to_a_session_that_nobody_opened_is_not_found(site: Site) -> None:
    assert (await site.echo.post(session() + "/xhr_send", '["x"]')).status == 404
    assert (await site.echo.post(session() + "/jsonp_send", "d=%5B%22x%22%5D", **FORM)).status == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('["x', "Broken JSON encoding."),
        ("[1]", "Broken JSON encoding."),
        ("", "Payload expected."),
        ('"x"', "Payload expected."),
    ],
)
async def test_what_is_no_array_of_texts_is_refused_and_nothing_breaks(site: Site, body: str, text: str) -> None:
    path = session()
    await site.echo.post(path + "/xhr")

    reply = await site.echo.post(path + "/xhr_send", body)

    assert (reply.status, reply.text) == (500, text)
    assert_cross_origin(reply)
    assert (await site.echo.post(path + "/xhr_send", '["a"]')).status == 204
    assert (await site.echo.post(path + "/xhr")).body == b'a["a"]\n'


async def test_content_type_of_what_is_sent_means_nothing(site: Site) -> None:
    path = session()
    await site.echo.post(path + "/xhr")
    types = [
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "",
        "application/json; charset=utf-8",
        "text/xml",
    ]

    for content_type in types:
        assert (await site.echo.post(path + "/xhr_send", '["a"]', content_type=content_type)).status == 204

    assert json.loads((await site.echo.post(path + "/xhr")).body[1:]) == ["a"] * len(types)


async def test_empty_array_sends_nothing(site: Site) -> None:
    path = session()
    await site.echo.post(path + "/xhr")
    assert (await site.echo.post(path + "/xhr_send", "[]")).status == 204
    assert (await site.echo.post(path + "/xhr_send", '["x"]')).status == 204
    assert (await site.echo.post(path + "/xhr")).body == b'a["x"]\n'


async def test_xhr_streaming(site: Site) -> None:
    path = session()
    reply, stream = await site.stream(site.echo, path + "/xhr_streaming", "POST")

    assert (reply.status, reply.headers["content-type"]) == (200, JAVASCRIPT)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in reply.headers
    assert_cross_origin(reply)
    assert_not_cached(reply)
    assert [await stream.chunk() for _ in range(2)] == [b"h" * 2048 + b"\n", b"o\n"]
    assert (await site.echo.post(path + "/xhr_send", '["x"]')).status == 204
    assert await stream.chunk() == b'a["x"]\n'


async def test_stream_ends_when_the_limit_is_reached_and_the_session_goes_on(site: Site) -> None:
    path = session()
    _, stream = await site.stream(site.echo, path + "/xhr_streaming", "POST")
    assert [await stream.chunk() for _ in range(2)] == [XHR_PRELUDE, b"o\n"]
    message = json.dumps(["x" * 128])
    for _ in range(31):
        assert (await site.echo.post(path + "/xhr_send", message)).status == 204
        assert (await stream.chunk()).decode() == f"a{message}\n"

    assert await stream.chunk() == b""

    assert (await site.echo.post(path + "/xhr_send", '["after"]')).status == 204
    assert (await site.echo.post(path + "/xhr")).body == b'a["after"]\n'
