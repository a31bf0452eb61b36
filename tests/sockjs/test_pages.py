"""What lies under a base URL beside sessions, on raw HTTP."""

import json
import re
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.sockjs.site import (
    HTML,
    PLAIN,
    Site,
    assert_cached_for_a_year,
    assert_cross_origin,
    assert_no_cookie,
    assert_not_cached,
    open_site,
    session,
)
from tests.sockjs_app import OPTIONS
from tests.transports.raw_http import Exchange

# The greeting


@pytest.mark.parametrize("path", ["", "/"])
async def test_base_url_greets(site: Site, path: str) -> None:
    reply = await site.echo.get(path)

    assert (reply.status, reply.headers["content-type"], reply.body) == (200, PLAIN, b"Welcome to SockJS!\n")
    assert_no_cookie(reply)


@pytest.mark.parametrize("path", ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/", "/info/", "/iframe"])
async def test_there_is_nothing_else(site: Site, path: str) -> None:
    assert (await site.echo.get(path)).status == 404


async def test_head_is_answered_as_get_without_a_body(site: Site) -> None:
    async with Exchange(site.port) as exchange:
        reply = await exchange.request("HEAD", "/echo")
        assert (reply.status, reply.headers["content-length"]) == (200, "19")
        assert (await exchange.request("GET", "/echo")).body == b"Welcome to SockJS!\n"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "", "OPTIONS, GET"),
        ("POST", "/info", "OPTIONS, GET"),
        ("GET", "/a/a/xhr", "OPTIONS, POST"),
        ("HEAD", "/a/a/eventsource", "OPTIONS, GET"),
        ("PUT", "/a/a/xhr_send", "OPTIONS, POST"),
        ("DELETE", "/a/a/xhr_streaming", "OPTIONS, POST"),
        ("POST", "/a/a/jsonp", "OPTIONS, GET"),
        ("POST", "/a/a/websocket", "GET"),
    ],
)
async def test_other_methods_are_told_which_are_allowed(site: Site, method: str, path: str, allowed: str) -> None:
    reply = await site.echo.request(method, path)

    assert (reply.status, reply.headers["allow"], reply.body) == (405, allowed, b"")
    assert "content-type" not in reply.headers


# The frame for other domains


@pytest.mark.parametrize(
    "path",
    [
        *("/iframe.html", "/iframe-a.html", "/iframe-.html", "/iframe-0.1.2.html", "/iframe-0.1.2abc-dirty.2144.html"),
        "/iframe-a.html?t=1234",
    ],
)
async def test_iframe_is_the_same_page_whatever_its_version(site: Site, path: str) -> None:
    reply = await site.echo.get(path)

    assert (reply.status, reply.headers["content-type"]) == (200, HTML)
    assert_cached_for_a_year(reply)
    assert_no_cookie(reply)
    assert re.fullmatch(
        r'<!DOCTYPE html>\n<html>\n<head>\n  <meta http-equiv="X-UA-Compatible" content="IE=edge" />\n'
        r'  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />\n'
        r"  <script>\n    document\.domain = document\.domain;\n"
        r"    _sockjs_onload = function\(\)\{SockJS\.bootstrap_iframe\(\);\};\n  </script>\n"
        r'  <script src="https?://[^"]+"></script>\n</head>\n<body>\n'
        r"  <h2>Don't panic!</h2>\n"
        r"  <p>This is a SockJS hidden iframe\. It's used for cross domain magic\.</p>\n</body>\n</html>",
        reply.text.strip(),
    )


async def test_iframe_of_the_service_loads_the_client_first() -> None:
    async with open_site(protocol_0_3_3=False) as site:
        reply = await site.echo.get("/iframe.html")

    assert re.fullmatch(
        r'<!DOCTYPE html>\n<html>\n<head>\n  <meta http-equiv="X-UA-Compatible" content="IE=edge" />\n'
        r'  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />\n'
        r'  <script src="https?://[^"]+"></script>\n'
        r"  <script>\n    document\.domain = document\.domain;\n    SockJS\.bootstrap_iframe\(\);\n  </script>\n"
        r"</head>\n<body>\n  <h2>Don't panic!</h2>\n"
        r"  <p>This is a SockJS hidden iframe\. It's used for cross domain magic\.</p>\n</body>\n</html>",
        reply.text.strip(),
    )


async def test_iframe_that_is_known_is_not_sent_again(site: Site) -> None:
    etag = (await site.echo.get("/iframe.html")).headers["etag"]
    assert (await site.echo.get("/iframe-1.html")).headers["etag"] == etag

    reply = await site.echo.get("/iframe.html", if_none_match=etag)

    assert (reply.status, reply.body) == (304, b"")
    assert "content-type" not in reply.headers
    assert (await site.echo.get("/iframe.html", if_none_match=f'"other", W/{etag}')).status == 304
    assert (await site.echo.get("/iframe.html", if_none_match='"other"')).status == 200


@pytest.mark.parametrize("path", ["/iframe.htm", "/IFRAME.HTML", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"])
async def test_iframe_has_no_other_names(site: Site, path: str) -> None:
    assert (await site.echo.get(path)).status == 404


# Info


async def test_info_tells_what_the_server_can(site: Site) -> None:
    reply = await site.echo.get("/info")

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json; charset=UTF-8")
    assert_not_cached(reply)
    assert_cross_origin(reply)
    assert_no_cookie(reply)
    facts = json.loads(reply.body)
    assert facts.pop("entropy") in range(2**32)
    assert facts == {"websocket": True, "origins": ["*:*"], "cookie_needed": False}


async def test_entropy_is_new_each_time(site: Site) -> None:
    assert len({json.loads((await site.echo.get("/info")).body)["entropy"] for _ in range(5)}) == 5


async def test_info_tells_what_is_turned_off(site: Site) -> None:
    assert json.loads((await site.without_websocket.get("/info")).body)["websocket"] is False
    reply = await site.with_cookie.get("/info")
    assert json.loads(reply.body)["cookie_needed"] is True
    assert_no_cookie(reply)


# Pages of other origins


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/info", "GET"),
        *((f"/abc/abc/{name}", "POST") for name in ("xhr", "xhr_send", "xhr_streaming", "jsonp_send")),
        *((f"/abc/abc/{name}", "GET") for name in ("eventsource", "htmlfile", "jsonp")),
    ],
)
@pytest.mark.parametrize(
    ("origin", "allowed"), [(None, "*"), ("test", "test"), ("https://a.test", "https://a.test"), ("null", "*")]
)
async def test_preflight_allows_the_method_for_a_year(
    site: Site, path: str, method: str, origin: str | None, allowed: str
) -> None:
    reply = await site.echo.options(path, **({} if origin is None else {"origin": origin}))

    assert (reply.status, reply.body) == (204, b"")
    assert_cached_for_a_year(reply)
    assert reply.headers["access-control-max-age"] == "31536000"
    assert reply.headers["access-control-allow-methods"] == f"OPTIONS, {method}"
    assert_cross_origin(reply, allowed)


@pytest.mark.parametrize(("asked", "allowed"), [("a, b, c", "a, b, c"), ("", None), (None, None)])
async def test_headers_that_were_asked_for_are_allowed(site: Site, asked: str | None, allowed: str | None) -> None:
    headers = {} if asked is None else {"access_control_request_headers": asked}

    reply = await site.echo.post(session() + "/xhr", **headers)

    assert reply.status == 200
    assert_cross_origin(reply)
    assert reply.headers.get("access-control-allow-headers") == allowed


async def test_page_from_a_file_may_read_the_answers_of_the_service() -> None:
    async with open_site(protocol_0_3_3=False) as site:
        for reply in (
            await site.echo.get("/info", origin="null"),
            await site.echo.options("/a/a/xhr", origin="null"),
            await site.echo.post(session() + "/xhr", origin="null"),
        ):
            assert_cross_origin(reply, "null")


async def test_proxies_of_the_service_compress_nothing_that_is_to_come_at_once() -> None:
    async with open_site(protocol_0_3_3=False) as site:
        streaming, _ = await site.stream(site.echo, session() + "/eventsource")
        for reply in (streaming, await site.echo.get("/info"), await site.echo.post(session() + "/xhr")):
            caching = reply.headers["cache-control"]
            assert caching == "no-store, no-cache, no-transform, must-revalidate, max-age=0"


async def test_origin_that_is_not_allowed_is_refused() -> None:
    strict = replace(OPTIONS.websockets, allowed_origins=("https://shop.example",))
    async with open_site(websockets=strict) as site:
        for path in ("/xhr", "/xhr_send", "/xhr_streaming"):
            reply = await site.echo.post(session() + path, origin="https://evil.example")
            assert reply.status == 403
            assert "access-control-allow-origin" not in reply.headers
        assert (await site.echo.get("/info", origin="https://evil.example")).status == 403
        assert (await site.echo.get("/info", origin="https://shop.example")).status == 200
        assert (await site.echo.get("/info", origin="http://sockjs.test")).status == 200
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"ws://127.0.0.1:{site.port}/echo/0/0/websocket", origin="https://evil.example")  # type: ignore[arg-type]
