"""Which pages of other origins may call the routes."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from app.api.sockjs import BASE


class OwnCors(CORSMiddleware):
    """SockJS has rules of its own, which its clients rely on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] + "/").startswith(BASE + "/"):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
