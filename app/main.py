"""The application."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import Lifespan

from app.api import health, notify, openapi, pages, problems, push, push_status, sessions, sockjs, websocket
from app.api.cors import PageCORS
from app.api.head import HeadAsGet
from app.api.proxied import Proxied
from app.api.startup import RequireStartup
from app.auth.ports import Authenticator
from app.delivery.observer import Observer
from app.gateway.routing import DestinationRoutes
from app.http.admission import LIMITS
from app.messages.types import TypeRegistry
from app.runtime.configuration import BuildBackplane, Consumer, Extensions, check_settings, root_path, trusted_proxies
from app.runtime.runtime import open_runtime
from app.settings import Settings
from app.timing.clock import Clock
from app.version import VERSION

DESCRIPTION = """
Push to the browsers and apps of your users, and know that the message arrived.

`curl -X POST -d "hello" http://localhost:2025/vh-stomp-wsend/push_all_obj/test1`

Clients connect with STOMP 1.0 to 1.2 over WebSocket at `/stomp-ws`, subscribe to `/user/queue/msg` and acknowledge
with a SEND to `/app/ack`. Errors are `application/problem+json` (RFC 9457).
"""

TAGS = [
    {"name": "Push", "description": "Push to one user, to all sessions, or to the subscribers of a topic."},
    {"name": "Notifications", "description": "The messages of the user whose token the request has."},
    {"name": "Sessions", "description": "Sessions that are online."},
    {"name": "Health", "description": "Probes of liveness and readiness."},
]


def create_app(
    settings: Settings | None = None,
    *,
    authenticator: Authenticator | None = None,
    routes: DestinationRoutes | None = None,
    types: TypeRegistry | None = None,
    observers: Sequence[Observer] = (),
    consumers: Sequence[Consumer] = (),
    backplane: BuildBackplane | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """Return the service as an ASGI application; several in one process do not disturb each other.

    `settings` None reads the environment. `authenticator` verifies tokens in place of the settings' JWT keys. `routes`
    adds application destinations. `types` replaces the message types. `observers` are told what happens to messages and
    sessions (see `app.delivery.observer`). `consumers` run as long as the service and are given its publisher.
    `backplane` builds the adapters that nodes share, such as the relay. docs/extending.md has an example of each.
    Raises ConfigurationError.
    """
    settings = settings or Settings()
    extensions = Extensions(
        authenticator=authenticator,
        routes=routes,
        types=types,
        clock=clock,
        observers=observers,
        consumers=consumers,
        backplane=backplane,
    )
    check_settings(settings, extensions)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_runtime(settings, extensions) as runtime:
            app.state.runtime = runtime
            yield {LIMITS: runtime.limits}

    app = _new_app(lifespan)
    app.state.settings = settings
    problems.install(app)
    _allow_pages(app, settings)
    _look_behind_proxies(app, settings)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequireStartup, state=app.state)
    _include(app, settings)
    openapi.document_types(app, extensions.types or TypeRegistry(strict=settings.strict_types))
    return app


def mount(parent: FastAPI, path: str, app: FastAPI) -> None:
    """Mount the service at `path` of another application, and start and end it together with that application.

    `app` comes from `create_app`. `FastAPI.mount` alone does not run the lifespan of `app`, and without it every
    request is refused with 503. The parent's own lifespan runs around that of the service.
    """
    parent.mount(path, app)
    lifespan_of_parent = parent.router.lifespan_context

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with lifespan_of_parent(parent) as state, app.router.lifespan_context(app) as state_of_service:
            yield {**(state or {}), **(state_of_service or {})}

    parent.router.lifespan_context = lifespan


def settings_of(app: FastAPI) -> Settings | None:
    """Return the settings that `create_app` made `app` with; None if `app` was made by something else."""
    settings = getattr(app.state, "settings", None)
    return settings if isinstance(settings, Settings) else None


def _new_app(lifespan: Lifespan[FastAPI]) -> FastAPI:
    return FastAPIOffline(
        title="stomp-notify",
        version=VERSION,
        summary="Push notifications over STOMP, acknowledged by every device.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        # Passed as routes, not included: an included router costs 25 µs.
        routes=[*push.router.routes, *websocket.router.routes],
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # 9 µs of each request, unused
        redirect_slashes=False,
    )


def _allow_pages(app: FastAPI, settings: Settings) -> None:
    if settings.allowed_origins:
        app.add_middleware(
            PageCORS,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Idempotency-Replay", "Retry-After"],
        )


def _look_behind_proxies(app: FastAPI, settings: Settings) -> None:
    proxies, prefix = trusted_proxies(settings), root_path(settings)
    if proxies or prefix:
        app.add_middleware(Proxied, proxies=proxies, root_path=prefix)


def _include(app: FastAPI, settings: Settings) -> None:
    app.include_router(sockjs.router, prefix=sockjs.BASE)
    for module in (push_status, notify, sessions, health, pages):
        app.include_router(module.router)
    if settings.app_env == "dev":
        app.include_router(pages.home_router)
    app.mount("/static", pages.RevalidatedFiles(directory=pages.STATIC), name="static")
