"""The SockJS routes, for any base URL and any endpoint."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, WebSocket
from starlette.responses import Response

from app.api.dependencies import RuntimeDep
from app.sockjs.endpoint import SockJs
from app.sockjs.http import answer_sockjs
from app.sockjs.websocket import serve_sockjs

BASE = "/stomp-ws"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def sockjs_router(get_sockjs: Callable[..., Awaitable[SockJs]]) -> APIRouter:
    """Return a router that passes every path below its prefix, which is the base URL, to the SockJS endpoint.

    One route is enough: the endpoint itself knows the paths and methods of the protocol.
    """
    router = APIRouter(include_in_schema=False)
    Dep = Annotated[SockJs, Depends(get_sockjs)]

    @router.api_route("", methods=METHODS)
    @router.api_route("/{path:path}", methods=METHODS)
    async def answer(request: Request, sockjs: Dep, path: str = "") -> Response:
        return await answer_sockjs(request, path, sockjs)

    @router.websocket("/{path:path}")
    async def serve(websocket: WebSocket, sockjs: Dep, path: str) -> None:
        await serve_sockjs(websocket, path, sockjs)

    return router


async def get_sockjs(runtime: RuntimeDep) -> SockJs:
    return runtime.sockjs


router = sockjs_router(get_sockjs)
