"""Whether the service has been started, and the refusal of requests until then."""

from collections.abc import Awaitable

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import response_of
from app.errors import Unavailable

DETAIL = (
    "the service has not been started: the application that contains it does not run its lifespan; "
    "mount it with app.main.mount(parent, path, app)"
)


def is_started(app: FastAPI) -> bool:
    """Return whether the lifespan of an application made by `create_app` has begun."""
    return hasattr(app.state, "runtime")


class RequireStartup:
    """Middleware that refuses requests and WebSockets with 503 until the lifespan has put `runtime` into `state`.

    A service that is mounted without `app.main.mount` stays like that: Starlette runs no lifespan of a mounted
    application.
    """

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or hasattr(self._state, "runtime"):
            return self._app(scope, receive, send)
        return response_of(Unavailable(DETAIL))(scope, receive, send)
