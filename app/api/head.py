"""HEAD for every GET (RFC 9110 section 9.1), which FastAPI's GET routes refuse."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.sockjs import BASE


class HeadAsGet:
    """Middleware that passes a HEAD to the routes as a GET; the server omits the body. SockJS handles HEAD itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not (scope["path"] + "/").startswith(BASE + "/"):
            scope = {**scope, "method": "GET"}
        return self._app(scope, receive, send)  # returned, not awaited: saves one coroutine per request
