"""What a request looks like behind a proxy."""

from typing import Any

import pytest
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from app.api.proxied import OWN_SEGMENTS, Proxied
from app.connections.proxies import TrustedProxies
from app.main import create_app
from app.settings import Settings

PROXY, STRANGER = ("10.0.0.1", 5000), ("192.0.2.1", 5000)


async def seen(
    *headers: tuple[str, str],
    client: tuple[str, int] | None = PROXY,
    root_path: str = "",
    outer: str | None = None,
    **fields: Any,
) -> Scope:
    """The scope that the application gets."""
    found: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody reads or writes")

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "path": "/docs", "raw_path": b"/docs", "client": client} | fields
    if outer is not None:
        scope["root_path"] = outer
    middleware = Proxied(app, proxies=TrustedProxies(("10.0.0.0/8",)), root_path=root_path)
    await middleware(scope | {"headers": raw}, nothing, nothing)
    return found[0]


async def test_trusted_proxy_is_believed() -> None:
    scope = await seen(
        ("x-forwarded-for", "1.1.1.1, 203.0.113.9"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/notify/")
    )

    assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 0), "https")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/notify", "/notify/docs", b"/notify/docs")


async def test_nobody_else_is_believed() -> None:
    claims = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/evil")]
    for client in (STRANGER, None):
        scope = await seen(*claims, client=client)

        assert (scope["client"], scope["scheme"], scope["path"]) == (client, "http", "/docs")
        assert "root_path" not in scope


async def test_forwarded_names_the_client() -> None:
    assert (await seen(("forwarded", 'for="[2001:db8::1]:80"')))["client"] == ("2001:db8::1", 80)


async def test_client_that_nobody_names_is_the_proxy() -> None:
    assert (await seen())["client"] == PROXY
    assert (await seen(("x-forwarded-for", "unknown")))["client"] == PROXY


@pytest.mark.parametrize(("type_", "value", "scheme"), [("http", "wss", "https"), ("websocket", "https", "wss")])
async def test_scheme_is_that_of_the_kind_of_request(type_: str, value: str, scheme: str) -> None:
    assert (await seen(("x-forwarded-proto", value), type=type_))["scheme"] == scheme


@pytest.mark.parametrize("value", ["gopher", "https, http", ""])
async def test_scheme_that_is_none_is_not_believed(value: str) -> None:
    assert (await seen(("x-forwarded-proto", value)))["scheme"] == "http"


async def test_prefix_that_leads_elsewhere_is_not_believed() -> None:
    scope = await seen(("x-forwarded-prefix", "//evil.example"), root_path="/notify")

    assert scope["root_path"] == "/notify"


@pytest.mark.parametrize(
    ("prefix", "path", "whole"),
    [
        ("/notify", "/docs", "/notify/docs"),
        ("/notify", "/notify/docs", "/notify/docs"),
        ("/notify", "/notifydocs", "/notify/notifydocs"),
        ("/notify", "/notify", "/notify/"),
        ("/a/b", "/a/b/docs", "/a/b/docs"),
        ("/api", "/api/sessions", "/api/api/sessions"),  # of the service, and cut off
    ],
)
async def test_path_may_come_with_the_prefix_or_without(prefix: str, path: str, whole: str) -> None:
    scope = await seen(client=STRANGER, root_path=prefix, path=path, raw_path=path.encode())

    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (prefix, whole, whole.encode())


async def test_application_that_is_mounted_has_both_prefixes() -> None:
    scope = await seen(client=STRANGER, root_path="/notify", path="/mounted/docs", outer="/mounted")

    assert (scope["root_path"], scope["path"]) == ("/notify/mounted", "/notify/mounted/docs")


def test_first_segments_of_all_longer_paths_are_known() -> None:
    app = create_app(Settings())
    paths = [*app.openapi()["paths"], *(route.path for route in app.routes if isinstance(route, Route | Mount))]

    assert {path.split("/")[1] for path in paths if path.count("/") > 1} <= OWN_SEGMENTS
    assert {route.path.strip("/") for route in app.routes if isinstance(route, Mount)} <= OWN_SEGMENTS
