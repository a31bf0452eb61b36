"""From settings to a running service: the only place that builds and wires."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.auth.access import PushAccess
from app.auth.ports import Authenticator
from app.connections.limits import ConnectionLimits
from app.db.database import Database
from app.db.migrations import migrate
from app.delivery.delivery import Delivery
from app.delivery.job import retry_job
from app.delivery.log import DeliveryLog
from app.delivery.observer import combine
from app.delivery.status import AcknowledgementsOfOthers
from app.gateway.directory import Directory
from app.gateway.gateway import Gateway
from app.hub.hub import Hub
from app.messages.types import TypeRegistry
from app.notifications.archive import NotifyArchive
from app.notifications.history import NotifyHistory
from app.notifications.idempotency import RENEWAL_S, IdempotencyStore
from app.notifications.manager import NotifyManager
from app.push.publisher import Publisher
from app.runtime import configuration, parts
from app.runtime.backplane import Backplane, build_backplane
from app.runtime.configuration import ApiLimits, Extensions, check_settings
from app.settings import Settings
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
    archive: NotifyArchive
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
        """Delete messages and idempotency keys that have expired."""
        await self.notify.run_retention()
        await self.idempotency.run_retention()


@asynccontextmanager
async def open_runtime(settings: Settings, extensions: Extensions | None = None) -> AsyncIterator[Runtime]:
    """Build every part, run the jobs and timers, and end them at exit. Raises ConfigurationError."""
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
        tasks.start(runtime.archive.run(), "archive")
        tasks.start(runtime.notify.run(), "writers")
        tasks.start(every(settings.recovery_interval_ms / 1000, runtime.notify.run_recovery), "recovery")
        tasks.start(every(RENEWAL_S, runtime.idempotency.renew), "leases of keys")
        tasks.start(every(RETENTION_PERIOD_S, runtime.run_retention), "retention")
        stack.push_async_callback(runtime.archive.close)
        stack.push_async_callback(runtime.gateway.aclose)
        stack.push_async_callback(runtime.sockjs.aclose)
        await runtime.backplane.wait_until_up()
        consumers = TaskOwner()
        stack.push_async_callback(consumers.aclose)
        for consumer in extensions.consumers:
            consumers.start(consumer(runtime.publisher), f"consumer {consumer.__name__}")
        yield runtime


def _build(
    settings: Settings, extensions: Extensions, stack: AsyncExitStack, database: Database, tasks: TaskOwner
) -> Runtime:
    clock, observer = extensions.clock or SystemClock(), combine(extensions.observers)
    hub = Hub()
    backplane = (extensions.backplane or build_backplane)(settings, clock)
    acks = parts.ack_manager(settings, hub, backplane, clock, observer)
    log = DeliveryLog(settings.delivery_log_size)
    policy = configuration.notify_policy(settings)
    archive = NotifyArchive(database=database, clock=clock, policy=policy)
    delivery = parts.delivery(settings, hub, acks, backplane, log, clock, tasks, archive, observer)
    _connect(backplane, delivery, log, clock, tasks)
    authenticator = parts.authenticator(settings, extensions, clock, stack)
    limits = parts.limits(settings, clock)
    notify = NotifyManager(database=database, delivery=delivery, clock=clock, policy=policy, marks=archive.marks)
    types = extensions.types or TypeRegistry(strict=settings.strict_types)
    publisher = parts.publisher(settings, delivery, notify, types, clock, backplane, observer)
    gateway = parts.gateway(
        settings, extensions, hub, delivery, publisher, backplane, authenticator, clock, limits, observer
    )
    return Runtime(
        hub=hub,
        delivery=delivery,
        gateway=gateway,
        backplane=backplane,
        directory=parts.directory(backplane, hub, acks, delivery, gateway, clock),
        database=database,
        archive=archive,
        notify=notify,
        history=NotifyHistory(database=database, delivery=delivery, clock=clock),
        idempotency=IdempotencyStore(database=database, clock=clock, ttl_ms=settings.idempotency_ttl_ms),
        authenticator=authenticator,
        access=parts.access(settings, authenticator),
        types=types,
        publisher=publisher,
        api_limits=configuration.api_limits(settings),
        websockets=WebSockets(configuration.websocket_options(settings), limits),
        sockjs=parts.sockjs(settings, gateway, backplane, clock, limits),
        limits=limits,
        clock=clock,
    )


def _connect(backplane: Backplane, delivery: Delivery, log: DeliveryLog, clock: Clock, tasks: TaskOwner) -> None:
    """Let the cluster report heads of mailboxes and ended nodes to the delivery."""
    if backplane.cluster is None:
        return
    backplane.cluster.presence.on_head = delivery.streams.read
    others = AcknowledgementsOfOthers(log=log, mailbox=backplane.mailbox, clock=clock)

    def take_over() -> None:
        tasks.start(others.take_over(), "acknowledgements of an ended node")

    backplane.cluster.members.on_departed(take_over)
