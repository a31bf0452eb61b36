"""HEAD for every GET (RFC 9110 section 9.1): FastAPI's routes of GET refuse it."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.sockjs import BASE


class HeadAsGet:
    """Hand a HEAD to the routes as a GET; the server leaves out the body. SockJS answers its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not (scope["path"] + "/").startswith(BASE + "/"):
            scope = {**scope, "method": "GET"}
        return self._app(scope, receive, send)  # without a coroutine of its own, for each request
