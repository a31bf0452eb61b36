"""The demo page and its files."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent.parent / "static"
DEMO = "/stomp-websocket-sockjs.html"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; script-src 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RevalidatedFiles(StaticFiles):
    """Static files that browsers revalidate each time, so that page and scripts are always of the same version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


router = APIRouter(include_in_schema=False)
home_router = APIRouter(include_in_schema=False)


@router.get(DEMO)
async def demo() -> FileResponse:
    return FileResponse(STATIC / DEMO.lstrip("/"), headers=SECURITY_HEADERS | {"Cache-Control": "no-cache"})


@home_router.get("/")
async def home(request: Request) -> RedirectResponse:
    return RedirectResponse(request.scope.get("root_path", "") + DEMO)
