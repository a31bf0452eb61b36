"""From settings to a running service: the only place that builds and wires."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.auth.access import PushAccess
from app.auth.dev import DevAuthenticator
from app.auth.ports import Authenticator
from app.cluster.sockjs_owners import REFRESH_S
from app.connections.limits import ConnectionLimits
from app.db.database import Database
from app.db.migrations import migrate
from app.delivery.ack_manager import AckManager
from app.delivery.delivery import Delivery
from app.delivery.job import retry_job
from app.delivery.log import DeliveryLog
from app.delivery.status import AcknowledgementsOfOthers
from app.gateway.core_routes import core_routes
from app.gateway.directory import Directory
from app.gateway.gateway import Gateway
from app.gateway.routing import DestinationRoutes
from app.hub.hub import Hub
from app.messages.ids import id_factory
from app.messages.types import TypeRegistry
from app.notifications.history import NotifyHistory
from app.notifications.idempotency import RENEWAL_S, IdempotencyStore
from app.notifications.manager import NotifyManager, NotifyPolicy
from app.push.publisher import Publisher
from app.runtime import configuration
from app.runtime.backplane import Backplane, build_backplane
from app.runtime.configuration import ApiLimits, Extensions, check_settings
from app.settings import Settings
from app.sockjs.cluster.sessions import SockJsCluster
from app.sockjs.endpoint import SockJs
from app.timing.clock import Clock, SystemClock
from app.timing.periodic import every
from app.timing.tasks import TaskOwner
from app.transports.websockets import WebSockets

RETENTION_PERIOD_S = 600

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts that requests and connections work with."""

    hub: Hub
    delivery: Delivery
    gateway: Gateway
    backplane: Backplane
    directory: Directory
    database: Database
    notify: NotifyManager
    history: NotifyHistory
    idempotency: IdempotencyStore
    authenticator: Authenticator
    access: PushAccess
    types: TypeRegistry
    publisher: Publisher
    api_limits: ApiLimits
    websockets: WebSockets
    sockjs: SockJs
    limits: ConnectionLimits
    clock: Clock

    async def run_retention(self) -> None:
        """The job: deletes what is past its time."""
        await self.notify.run_retention()
        await self.idempotency.run_retention()


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
        tasks = TaskOwner()
        runtime = _build(settings, extensions, stack, database, tasks)
        policy = configuration.retry_policy(settings)
        await stack.enter_async_context(retry_job(runtime.delivery.sweep, policy, runtime.clock))
        stack.push_async_callback(tasks.aclose)
        for name, job in runtime.backplane.jobs:
            tasks.start(job(), name)
        stack.push_async_callback(runtime.backplane.close)
        tasks.start(runtime.gateway.run(), "heart-beats")
        tasks.start(runtime.sockjs.run(), "SockJS sessions")
        tasks.start(runtime.notify.run(), "writers")
        tasks.start(every(settings.recovery_interval_ms / 1000, runtime.notify.run_recovery), "recovery")
        tasks.start(every(RENEWAL_S, runtime.idempotency.renew), "leases of keys")
        tasks.start(every(RETENTION_PERIOD_S, runtime.run_retention), "retention")
        stack.push_async_callback(runtime.notify.close)
        stack.push_async_callback(runtime.gateway.aclose)
        stack.push_async_callback(runtime.sockjs.aclose)
        await runtime.backplane.wait_until_up()
        yield runtime


def _build(
    settings: Settings, extensions: Extensions, stack: AsyncExitStack, database: Database, tasks: TaskOwner
) -> Runtime:
    clock = extensions.clock or SystemClock()
    hub = Hub()
    backplane = build_backplane(settings, clock)
    acks = _ack_manager(settings, hub, backplane, clock)
    log = DeliveryLog(settings.delivery_log_size)
    delivery = _delivery(hub, acks, backplane, log, clock, tasks)
    _connect(backplane, delivery, log, clock, tasks)
    authenticator = _authenticator(settings, extensions, clock, stack)
    limits = _limits(settings, clock)
    notify = _notify(settings, database, delivery, clock)
    delivery.use_archive(notify, limit=settings.inbox_max_messages)
    types = extensions.types or TypeRegistry(strict=settings.strict_types)
    publisher = _publisher(settings, delivery, notify, types, clock, waits=backplane.cluster is not None)
    gateway = _gateway(settings, extensions, hub, delivery, publisher, backplane, authenticator, clock, limits)
    return Runtime(
        hub=hub,
        delivery=delivery,
        gateway=gateway,
        backplane=backplane,
        directory=_directory(backplane, hub, acks, delivery, gateway, clock),
        database=database,
        notify=notify,
        history=NotifyHistory(database=database, delivery=delivery, clock=clock),
        idempotency=IdempotencyStore(database=database, clock=clock, ttl_ms=settings.idempotency_ttl_ms),
        authenticator=authenticator,
        access=_access(settings, authenticator),
        types=types,
        publisher=publisher,
        api_limits=configuration.api_limits(settings),
        websockets=WebSockets(configuration.websocket_options(settings), limits),
        sockjs=_sockjs(settings, gateway, backplane, clock, limits),
        limits=limits,
        clock=clock,
    )


def _directory(
    backplane: Backplane, hub: Hub, acks: AckManager, delivery: Delivery, gateway: Gateway, clock: Clock
) -> Directory:
    return Directory(
        node=backplane.node,
        hub=hub,
        acks=acks,
        delivery=delivery,
        mailbox=backplane.mailbox,
        gateway=gateway,
        control=backplane.control,
        clock=clock,
    )


def _connect(backplane: Backplane, delivery: Delivery, log: DeliveryLog, clock: Clock, tasks: TaskOwner) -> None:
    """What the cluster tells the delivery beside messages."""
    if backplane.cluster is None:
        return
    backplane.cluster.presence.on_head = delivery.streams.read
    others = AcknowledgementsOfOthers(log=log, mailbox=backplane.mailbox, clock=clock)

    def take_over() -> None:
        tasks.start(others.take_over(), "acknowledgements of an ended node")

    backplane.cluster.members.on_departed(take_over)


def _delivery(
    hub: Hub, acks: AckManager, backplane: Backplane, log: DeliveryLog, clock: Clock, tasks: TaskOwner
) -> Delivery:
    return Delivery(
        hub=hub,
        acks=acks,
        mailbox=backplane.mailbox,
        relay=backplane.relay,
        log=log,
        clock=clock,
        new_id=id_factory(clock),
        tasks=tasks,
    )


def _publisher(
    settings: Settings, delivery: Delivery, notify: NotifyManager, types: TypeRegistry, clock: Clock, *, waits: bool
) -> Publisher:
    return Publisher(
        delivery=delivery,
        history=notify,
        types=types,
        clock=clock,
        lifetime=configuration.lifetime(settings),
        waits=waits,
    )


def _gateway(
    settings: Settings,
    extensions: Extensions,
    hub: Hub,
    delivery: Delivery,
    publisher: Publisher,
    backplane: Backplane,
    authenticator: Authenticator,
    clock: Clock,
    limits: ConnectionLimits,
) -> Gateway:
    return Gateway(
        hub=hub,
        delivery=delivery,
        publisher=publisher,
        presence=backplane.presence,
        authenticator=authenticator,
        routes=_routes(extensions),
        options=configuration.connection_options(settings),
        allow_topic_send=bool(settings.allow_client_topic_send),
        clock=clock,
        limits=limits,
    )


def _limits(settings: Settings, clock: Clock) -> ConnectionLimits:
    proxies = configuration.trusted_proxies(settings)
    return ConnectionLimits(configuration.limit_options(settings), proxies=proxies, now=clock.monotonic)


def _sockjs(
    settings: Settings, gateway: Gateway, backplane: Backplane, clock: Clock, limits: ConnectionLimits
) -> SockJs:
    options = configuration.sockjs_options(settings)
    node, cluster = backplane.cluster, None
    if node is not None:
        cluster = SockJsCluster(
            node.owners,
            node.post,
            clock=clock,
            heartbeat_s=options.timing.heartbeat_s,
            refresh_s=REFRESH_S,
            patience_s=settings.inbound_patience_ms / 1000,
        )
    return SockJs(gateway, options, clock=clock, cluster=cluster, limits=limits)


def _notify(settings: Settings, database: Database, delivery: Delivery, clock: Clock) -> NotifyManager:
    return NotifyManager(
        database=database,
        delivery=delivery,
        clock=clock,
        policy=NotifyPolicy(
            ack_ttl_ms=settings.ack_message_ttl_ms,
            retention_days=settings.retention_days,
            grace_ms=settings.recovery_grace_ms,
        ),
    )


def _ack_manager(settings: Settings, hub: Hub, backplane: Backplane, clock: Clock) -> AckManager:
    return AckManager(
        hub=hub,
        ledger=backplane.ledger,
        policy=configuration.retry_policy(settings),
        clock=clock,
        log_events=bool(settings.log_ack_events),
        # Who comes back gets a full inbox and as many persisted messages at once, before he can acknowledge any.
        max_open_per_session=max(settings.max_unacked_per_session, 2 * settings.inbox_max_messages + 1),
    )


def _access(settings: Settings, authenticator: Authenticator) -> PushAccess:
    keys = configuration.api_keys(settings)
    for number in keys.guessable:
        logger.warning("API_KEYS: key %d is short enough to be guessed", number)
    return PushAccess(keys=keys, authenticator=authenticator, required=settings.app_env == "prod")


def _authenticator(settings: Settings, extensions: Extensions, clock: Clock, stack: AsyncExitStack) -> Authenticator:
    """An authenticator that was brought along replaces ours, dev tokens included."""
    if extensions.authenticator is not None:
        return extensions.authenticator
    jwt = None
    if configuration.jwt_keys(settings):
        jwt = configuration.jwt_authenticator(settings, clock)
        stack.push_async_callback(jwt.aclose)
    if settings.app_env == "dev":
        return DevAuthenticator(jwt)
    assert jwt is not None, "check_settings asks for a way to verify tokens"
    return jwt


def _routes(extensions: Extensions) -> DestinationRoutes:
    routes = DestinationRoutes()
    routes.include(core_routes)
    if extensions.routes is not None:
        routes.include(extensions.routes)
    return routes
