"""What requests get before the service has been started."""

from collections.abc import Awaitable

from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import response_of
from app.errors import Unavailable

DETAIL = (
    "the service has not been started: the application that contains it does not run its lifespan; "
    "mount it with app.main.mount(parent, path, app)"
)


class RequireStartup:
    """Refuse requests and WebSockets with 503 until the lifespan of the application has put `runtime` into its state.

    That happens where the service is mounted in another application: Starlette runs no lifespan of a mounted one.
    """

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or hasattr(self._state, "runtime"):
            return self._app(scope, receive, send)
        return response_of(Unavailable(DETAIL))(scope, receive, send)
