"""What lies under a base URL."""

import pytest

from app.sockjs.protocol.paths import Action, Call, Page, is_websocket, method_of, parse_path


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", Page.GREETING),
        ("info", Page.INFO),
        ("websocket", Page.RAW_WEBSOCKET),
        ("iframe.html", Page.IFRAME),
        ("iframe-.html", Page.IFRAME),
        ("iframe-0.1.2abc-dirty.2144.html", Page.IFRAME),
        ("000/abc/xhr", Call("abc", Action.XHR)),
        ("_/_/xhr_streaming", Call("_", Action.XHR_STREAMING)),
        ("a b-j 1/c d/eventsource", Call("c d", Action.EVENTSOURCE)),
        ("1/1/websocket", Call("1", Action.WEBSOCKET)),
        ("0/" + "x" * 256 + "/jsonp", Call("x" * 256, Action.JSONP)),
    ],
)
def test_path_leads_somewhere(path: str, target: Page | Call) -> None:
    assert parse_path(path) == target


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "///", "a", "a.html", "a/a", "a/a/", "a/a/a", "info/", "xhr", "/xhr"),
        *("iframe", "iframe.htm", "IFRAME.HTML", "iframe.HTML", "iframe.xml", "iframe-/.html", "iframexhtml"),
        *("//xhr", "/a/xhr", "a//xhr", "a./a/xhr", "a/a./xhr", "././xhr", "a/a/xhr/", "a/a/a/xhr", "a/a/XHR"),
        "0/" + "x" * 257 + "/jsonp",
    ],
)
def test_path_leads_nowhere(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize("action", list(Action))
def test_each_action_has_its_method(action: Action) -> None:
    posted = action.value in ("xhr", "xhr_streaming", "xhr_send", "jsonp_send")

    assert method_of(Call("a", action)) == ("POST" if posted else "GET")
    assert is_websocket(Call("a", action)) is (action.value == "websocket")


@pytest.mark.parametrize("page", list(Page))
def test_pages_are_read(page: Page) -> None:
    assert method_of(page) == "GET"
    assert is_websocket(page) is (page is Page.RAW_WEBSOCKET)
