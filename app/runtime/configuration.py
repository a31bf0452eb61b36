"""The options of each part of the service from the settings, and the check of settings against one another."""

import logging
import resource
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.auth.api_keys import ApiKeys
from app.auth.claims import ClaimRules
from app.auth.jwt_keys import JwtKeys
from app.auth.ports import Authenticator
from app.connections.limits import LimitOptions
from app.connections.proxies import TrustedProxies, parse_prefix
from app.db.url import parse_url
from app.delivery.observer import Observer
from app.delivery.retry import RetryPolicy
from app.errors import ConfigurationError
from app.gateway.routing import DestinationRoutes
from app.gateway.services import ConnectionOptions
from app.http.limits import HttpLimits
from app.hub.outbox import OutboxLimits
from app.messages.types import TypeRegistry
from app.notifications.policy import NotifyPolicy
from app.push.publisher import Lifetime, Publisher
from app.redis.address import parse_redis_url
from app.runtime.backplane import Backplane
from app.settings import Settings
from app.settings.groups import AccessSettings, DeliverySettings, HttpSettings, ServerSettings, StompSettings
from app.sockjs.options import SockJsOptions
from app.sockjs.protocol.buffer import Timing
from app.stomp.frames import FrameLimits
from app.stomp.heartbeat import Heartbeat
from app.stomp.session import SessionLimits
from app.timing.clock import Clock, SystemClock
from app.transports.opening import WebSocketOptions
from app.transports.stomp_text import frame_as_text
from app.version import SERVER

if TYPE_CHECKING:
    from app.auth.tokens import JwtAuthenticator

Consumer = Callable[[Publisher], Coroutine[Any, Any, None]]
"""Takes work from elsewhere, such as a queue, and pushes; runs from the start of the service to its end."""

BuildBackplane = Callable[[Settings, Clock], Backplane]
"""Makes what nodes share, such as the relay; `app.runtime.backplane.build_backplane` is the service's own."""

FEWEST_FILES, MOST_FILES = 128, 1000  # bounds of the reserve of open files that connections do not get

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """Bounds of HTTP requests."""

    max_body_bytes: int
    max_batch_items: int
    history_page_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """The extensions that `app.main.create_app` takes and describes. None stands for the service's own."""

    authenticator: Authenticator | None = None
    routes: DestinationRoutes | None = None
    types: TypeRegistry | None = None
    clock: Clock | None = None
    observers: Sequence[Observer] = ()
    consumers: Sequence[Consumer] = ()
    backplane: BuildBackplane | None = None


def check_settings(settings: Settings, extensions: Extensions) -> None:
    """Check settings together. Raises ConfigurationError that names every missing or invalid setting."""
    problems = [*_combination_problems(settings, extensions), *_value_problems(settings, extensions)]
    if problems:
        raise ConfigurationError("; ".join(problems))


def _combination_problems(settings: Settings, extensions: Extensions) -> Iterator[str]:
    if settings.workers > 1 and settings.redis_url is None:
        yield f"WORKERS={settings.workers} needs REDIS_URL: processes learn of each other's sessions through it"
    if settings.redis_url is None and not settings.enable_local_ack:
        yield "ENABLE_LOCAL_ACK=false needs REDIS_URL"
    if settings.ack_remember_ms < settings.mailbox_window_ms:
        yield "ACK_REMEMBER_MS must not be less than MAILBOX_WINDOW_MS, or acknowledged messages would be resent"
    if settings.app_env == "prod":
        if extensions.authenticator is None and not jwt_keys(settings):
            yield "APP_ENV=prod needs a way to verify tokens: JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL"
        if not settings.api_keys:
            yield "APP_ENV=prod needs API_KEYS: the keys that back ends push with"


def _value_problems(settings: Settings, extensions: Extensions) -> Iterator[str]:
    """Build keys, addresses and authenticators once, and yield their errors: later they would end in a traceback."""
    checks: list[Callable[[], object]] = [lambda: api_keys(settings), lambda: parse_url(settings.database_url)]
    if settings.redis_url is not None:
        checks.append(lambda: parse_redis_url(settings.redis_url or ""))
    checks += [lambda: trusted_proxies(settings), lambda: root_path(settings)]
    if extensions.authenticator is None and jwt_keys(settings):
        checks.append(lambda: jwt_authenticator(settings, SystemClock()))
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            yield str(error)


def jwt_authenticator(settings: Settings, clock: Clock) -> "JwtAuthenticator":
    from app.auth.jwt_builder import build_jwt_authenticator

    strict = settings.app_env == "prod"
    rules = ClaimRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        require_exp=strict,
    )
    return build_jwt_authenticator(jwt_keys(settings), rules=rules, clock=clock, strict=strict)


def api_keys(settings: AccessSettings) -> ApiKeys:
    return ApiKeys(settings.api_keys)


def jwt_keys(settings: AccessSettings) -> JwtKeys:
    return JwtKeys(
        secret=settings.jwt_secret.get_secret_value() if settings.jwt_secret else None,
        public_key=settings.jwt_public_key,
        jwks_url=settings.jwt_jwks_url,
        algorithms=settings.jwt_algorithms,
    )


def root_path(settings: ServerSettings) -> str:
    """Return the path prefix without its last slash. Raises ConfigurationError."""
    prefix = "" if settings.root_path in ("", "/") else parse_prefix(settings.root_path)
    if prefix is None:
        raise ConfigurationError(f"ROOT_PATH: {settings.root_path!r} was found; a path such as /notify was expected")
    return prefix


def trusted_proxies(settings: ServerSettings) -> TrustedProxies:
    return TrustedProxies(settings.trusted_proxies)


def limit_options(settings: Settings) -> LimitOptions:
    """Return the limits on connections, bounded by the present limit of open files of this process."""
    allowed = connections_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    wanted = settings.max_connections
    if wanted is not None and wanted > allowed:
        logger.warning("MAX_CONNECTIONS=%d is more than RLIMIT_NOFILE allows: %d is used", wanted, allowed)
    return LimitOptions(
        connections=allowed if wanted is None else min(wanted, allowed),
        by_files=wanted is None or wanted > allowed,
        per_address=settings.max_connections_per_address or 0,
        attempts_per_s=settings.max_attempts_per_s,
        unauthenticated=settings.max_unauthenticated,
        unauthenticated_sockjs=min(settings.max_unauthenticated, max(settings.sockjs_max_sessions // 3, 1)),
    )


def connections_of(open_files: int) -> int:
    """Return how many connections leave enough open files for the database, Redis, refusals and static files."""
    if open_files == resource.RLIM_INFINITY:
        return sys.maxsize
    reserve = min(max(FEWEST_FILES, open_files // 10), MOST_FILES)
    return max(open_files - reserve, open_files // 2, 1)


def api_limits(settings: Settings) -> ApiLimits:
    return ApiLimits(
        max_body_bytes=settings.http_max_body_bytes,
        max_batch_items=settings.max_batch_items,
        history_page_max=settings.history_page_max,
    )


def lifetime(settings: DeliverySettings) -> Lifetime:
    return Lifetime(default_ms=settings.ack_message_ttl_ms, max_ms=settings.max_message_ttl_ms)


def retry_policy(settings: DeliverySettings) -> RetryPolicy:
    assert settings.ack_max_retry_count is not None, "filled by the settings themselves"
    return RetryPolicy(
        wait_s=settings.ack_check_wait_ms / 1000,
        interval_s=settings.ack_retry_interval_ms / 1000,
        max_retries=settings.ack_max_retry_count,
    )


def notify_policy(settings: Settings) -> NotifyPolicy:
    return NotifyPolicy(
        ack_ttl_ms=settings.ack_message_ttl_ms,
        retention_days=settings.retention_days,
        grace_ms=settings.recovery_grace_ms,
    )


def connection_options(settings: StompSettings) -> ConnectionOptions:
    def frame_limits(max_frame_bytes: int) -> FrameLimits:
        return FrameLimits(
            max_frame_bytes=max_frame_bytes,
            max_headers=settings.max_frame_headers,
            max_header_bytes=settings.max_header_bytes,
        )

    return ConnectionOptions(
        server=SERVER,
        limits=SessionLimits(
            connecting=frame_limits(settings.max_connect_frame_bytes),
            connected=frame_limits(settings.max_frame_bytes),
            max_subscriptions=settings.max_subscriptions_per_session,
            max_transactions=settings.max_transactions_per_session,
            max_transaction_bytes=settings.max_transaction_bytes,
        ),
        heartbeat=Heartbeat(settings.heartbeat_send_ms, settings.heartbeat_receive_ms),
        connect_timeout_s=settings.connect_timeout_ms / 1000,
        max_sessions_per_user=settings.max_sessions_per_user,
        inbound_rate=settings.inbound_frames_per_s,
        inbound_burst=settings.inbound_burst,
        inbound_patience_s=settings.inbound_patience_ms / 1000,
    )


def http_limits(settings: HttpSettings) -> HttpLimits:
    return HttpLimits(
        max_request_line_bytes=settings.http_max_request_line_bytes,
        max_head_bytes=settings.http_max_head_bytes,
        max_headers=settings.http_max_headers,
        head_timeout_s=settings.http_head_timeout_ms / 1000,
        body_timeout_s=settings.http_body_timeout_ms / 1000,
        min_body_rate=settings.http_min_body_bytes_per_s,
        keep_alive_s=settings.http_keep_alive_ms / 1000,
    )


def websocket_options(settings: Settings) -> WebSocketOptions:
    return WebSocketOptions(
        allowed_origins=settings.allowed_origins or (),
        outbox=OutboxLimits(max_frames=settings.outbox_max_frames, max_bytes=settings.outbox_max_bytes),
    )


def sockjs_options(settings: Settings) -> SockJsOptions:
    return SockJsOptions(
        websocket=settings.sockjs_websocket,
        cookie_needed=settings.sockjs_cookie_needed,
        response_limit=settings.sockjs_response_limit_bytes,
        timing=Timing(
            heartbeat_s=settings.sockjs_heartbeat_ms / 1000,
            disconnect_delay_s=settings.sockjs_disconnect_delay_ms / 1000,
        ),
        max_body_bytes=settings.http_max_body_bytes,
        max_sessions=settings.sockjs_max_sessions,
        client_url=settings.sockjs_client_url,
        as_text=frame_as_text,
        is_stream=True,
        websockets=websocket_options(settings),
    )
