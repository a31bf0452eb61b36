"""From settings to a running service: the only place that builds and wires."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.auth.access import PushAccess
from app.auth.api_keys import ApiKeys
from app.auth.claims import ClaimRules
from app.auth.dev import DevAuthenticator
from app.auth.jwt_builder import JwtKeys, build_jwt_authenticator
from app.auth.ports import Authenticator
from app.auth.tokens import JwtAuthenticator
from app.clock import Clock, SystemClock
from app.cluster.memory import MemoryBus
from app.db.database import Database, parse_url
from app.db.migrations import migrate
from app.delivery.ack_manager import AckManager
from app.delivery.delivery import Delivery
from app.delivery.inbox import InboxLimits, MemoryInbox
from app.delivery.job import retry_job
from app.delivery.ledger import MemoryLedger
from app.delivery.log import DeliveryLog
from app.delivery.retry import RetryPolicy
from app.errors import ConfigurationError
from app.gateway.connection import ConnectionOptions
from app.gateway.core_routes import core_routes
from app.gateway.gateway import Gateway
from app.gateway.routing import DestinationRoutes
from app.gateway.tasks import TaskOwner
from app.hub.hub import Hub
from app.hub.outbox import OutboxLimits
from app.messages.ids import id_factory
from app.messages.types import TypeRegistry
from app.notifications.idempotency import IdempotencyStore
from app.notifications.jobs import every
from app.notifications.manager import NotifyManager, NotifyPolicy
from app.settings import Settings
from app.stomp.frames import FrameLimits
from app.stomp.heartbeat import Heartbeat
from app.stomp.session import SessionLimits
from app.transports.websocket import WebSocketOptions
from app.version import SERVER

RETENTION_PERIOD_S = 600

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """Bounds and defaults of pushes over HTTP."""

    ttl_ms: int
    max_ttl_ms: int
    max_body_bytes: int
    max_batch_items: int
    history_page_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts that requests and connections work with."""

    hub: Hub
    acks: AckManager
    delivery: Delivery
    gateway: Gateway
    notify: NotifyManager
    idempotency: IdempotencyStore
    authenticator: Authenticator
    access: PushAccess
    types: TypeRegistry
    push: PushOptions
    websocket: WebSocketOptions
    clock: Clock

    async def run_retention(self) -> None:
        """The job: deletes what is past its time."""
        await self.notify.run_retention()
        await self.idempotency.run_retention()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What an application brings along; None and empty stand for the service's own."""

    authenticator: Authenticator | None = None
    routes: DestinationRoutes | None = None
    types: TypeRegistry | None = None
    clock: Clock | None = None


def check_settings(settings: Settings, extensions: Extensions) -> None:
    """Raises ConfigurationError that names every setting that is missing or impossible."""
    problems = []
    if settings.redis_url is not None:
        problems.append("REDIS_URL: this version runs as one node and cannot use Redis")
    if settings.workers > 1:
        problems.append(f"WORKERS={settings.workers}: this version runs as one process")
    if settings.app_env == "prod":
        if extensions.authenticator is None and not _jwt_keys(settings):
            problems.append("APP_ENV=prod needs a way to verify tokens: JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL")
        if not settings.api_keys:
            problems.append("APP_ENV=prod needs API_KEYS, or nobody could push")
    problems.extend(_value_problems(settings, extensions))
    if problems:
        raise ConfigurationError("; ".join(problems))


def _value_problems(settings: Settings, extensions: Extensions) -> Iterator[str]:
    """What the makers of keys and database say: before the server starts, whose only answer would be a traceback."""
    try:
        _api_keys(settings)
    except ConfigurationError as error:
        yield str(error)
    try:
        parse_url(settings.database_url)
    except ConfigurationError as error:
        yield str(error)
    try:
        if extensions.authenticator is None and _jwt_keys(settings):
            _jwt_authenticator(settings, SystemClock())
    except ConfigurationError as error:
        yield str(error)


@asynccontextmanager
async def open_runtime(settings: Settings, extensions: Extensions | None = None) -> AsyncIterator[Runtime]:
    """Builds everything, runs the jobs and the timer, and ends them all. Raises ConfigurationError."""
    extensions = extensions or Extensions()
    check_settings(settings, extensions)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url)
        stack.push_async_callback(database.aclose)
        if settings.auto_migrate or (settings.auto_migrate is None and database.is_sqlite):
            await migrate(database)
        runtime, policy = _build(settings, extensions, stack, database)
        await stack.enter_async_context(retry_job(runtime.delivery.sweep, policy))
        tasks = TaskOwner()
        stack.push_async_callback(tasks.aclose)
        tasks.start(runtime.gateway.run(), "heart-beats")
        tasks.start(runtime.notify.run(), "writers")
        tasks.start(every(settings.recovery_interval_ms / 1000, runtime.notify.run_recovery), "recovery")
        tasks.start(every(RETENTION_PERIOD_S, runtime.run_retention), "retention")
        stack.push_async_callback(runtime.notify.close)
        stack.push_async_callback(runtime.gateway.aclose)
        yield runtime


def _build(
    settings: Settings, extensions: Extensions, stack: AsyncExitStack, database: Database
) -> tuple[Runtime, RetryPolicy]:
    clock = extensions.clock or SystemClock()
    policy = _retry_policy(settings)
    hub = Hub()
    acks = _ack_manager(settings, hub, policy, clock)
    delivery = _delivery(settings, hub, acks, clock)
    authenticator = _authenticator(settings, extensions, clock, stack)
    gateway = Gateway(
        hub=hub,
        delivery=delivery,
        authenticator=authenticator,
        routes=_routes(extensions),
        options=_connection_options(settings),
        allow_topic_send=bool(settings.allow_client_topic_send),
        clock=clock,
    )
    notify = NotifyManager(
        database=database,
        delivery=delivery,
        clock=clock,
        policy=NotifyPolicy(
            ack_ttl_ms=settings.ack_message_ttl_ms,
            retention_days=settings.retention_days,
            grace_ms=settings.recovery_grace_ms,
        ),
    )
    delivery.use_archive(notify, limit=settings.inbox_max_messages)
    runtime = Runtime(
        hub=hub,
        acks=acks,
        delivery=delivery,
        gateway=gateway,
        notify=notify,
        idempotency=IdempotencyStore(database=database, clock=clock, ttl_ms=settings.idempotency_ttl_ms),
        authenticator=authenticator,
        access=_access(settings, authenticator),
        types=extensions.types or TypeRegistry(strict=settings.strict_types),
        push=_push_options(settings),
        websocket=_websocket_options(settings),
        clock=clock,
    )
    return runtime, policy


def _ack_manager(settings: Settings, hub: Hub, policy: RetryPolicy, clock: Clock) -> AckManager:
    return AckManager(
        hub=hub,
        ledger=MemoryLedger(),
        policy=policy,
        clock=clock,
        log_events=bool(settings.log_ack_events),
        # Who comes back gets a full inbox and as many persisted messages at once, before he can acknowledge any.
        max_open_per_session=max(settings.max_unacked_per_session, 2 * settings.inbox_max_messages + 1),
    )


def _delivery(settings: Settings, hub: Hub, acks: AckManager, clock: Clock) -> Delivery:
    return Delivery(
        hub=hub,
        acks=acks,
        inbox=MemoryInbox(InboxLimits(max_messages=settings.inbox_max_messages, max_bytes=settings.max_inboxes_bytes)),
        relay=MemoryBus().relay(),
        log=DeliveryLog(settings.delivery_log_size),
        clock=clock,
        new_id=id_factory(clock),
    )


def _access(settings: Settings, authenticator: Authenticator) -> PushAccess:
    keys = _api_keys(settings)
    for number in keys.guessable:
        logger.warning("API_KEYS: key %d is short enough to be guessed", number)
    return PushAccess(keys=keys, authenticator=authenticator, required=settings.app_env == "prod")


def _push_options(settings: Settings) -> PushOptions:
    return PushOptions(
        ttl_ms=settings.ack_message_ttl_ms,
        max_ttl_ms=settings.max_message_ttl_ms,
        max_body_bytes=settings.http_max_body_bytes,
        max_batch_items=settings.max_batch_items,
        history_page_max=settings.history_page_max,
    )


def _authenticator(settings: Settings, extensions: Extensions, clock: Clock, stack: AsyncExitStack) -> Authenticator:
    """An authenticator that was brought along replaces ours, dev tokens included."""
    if extensions.authenticator is not None:
        return extensions.authenticator
    jwt = None
    if _jwt_keys(settings):
        jwt = _jwt_authenticator(settings, clock)
        stack.push_async_callback(jwt.aclose)
    if settings.app_env == "dev":
        return DevAuthenticator(jwt)
    assert jwt is not None, "check_settings asks for a way to verify tokens"
    return jwt


def _jwt_authenticator(settings: Settings, clock: Clock) -> JwtAuthenticator:
    strict = settings.app_env == "prod"
    rules = ClaimRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        require_exp=strict,
    )
    return build_jwt_authenticator(_jwt_keys(settings), rules=rules, clock=clock, strict=strict)


def _api_keys(settings: Settings) -> ApiKeys:
    return ApiKeys(settings.api_keys)


def _jwt_keys(settings: Settings) -> JwtKeys:
    return JwtKeys(
        secret=settings.jwt_secret.get_secret_value() if settings.jwt_secret else None,
        public_key=settings.jwt_public_key,
        jwks_url=settings.jwt_jwks_url,
        algorithms=settings.jwt_algorithms,
    )


def _routes(extensions: Extensions) -> DestinationRoutes:
    routes = DestinationRoutes()
    routes.include(core_routes)
    if extensions.routes is not None:
        routes.include(extensions.routes)
    return routes


def _retry_policy(settings: Settings) -> RetryPolicy:
    assert settings.ack_max_retry_count is not None, "filled by the settings themselves"
    return RetryPolicy(
        wait_s=settings.ack_check_wait_ms / 1000,
        interval_s=settings.ack_retry_interval_ms / 1000,
        max_retries=settings.ack_max_retry_count,
    )


def _connection_options(settings: Settings) -> ConnectionOptions:
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
    )


def _websocket_options(settings: Settings) -> WebSocketOptions:
    return WebSocketOptions(
        allowed_origins=settings.allowed_origins or (),
        outbox=OutboxLimits(max_frames=settings.outbox_max_frames, max_bytes=settings.outbox_max_bytes),
    )
