"""Each part of the service, made from the settings and the parts that it needs."""

import logging
from contextlib import AsyncExitStack

from app.auth.access import PushAccess
from app.auth.dev import DevAuthenticator
from app.auth.ports import Authenticator
from app.cluster.sockjs_owners import REFRESH_S
from app.connections.limits import ConnectionLimits
from app.delivery.ack_manager import AckManager
from app.delivery.archive import Archive
from app.delivery.delivery import Delivery
from app.delivery.log import DeliveryLog
from app.delivery.observer import Observer
from app.gateway.core_routes import core_routes
from app.gateway.directory import Directory
from app.gateway.gateway import Gateway
from app.gateway.routing import DestinationRoutes
from app.hub.hub import Hub
from app.messages.ids import id_factory
from app.messages.types import TypeRegistry
from app.notifications.manager import NotifyManager
from app.push.publisher import Publisher
from app.runtime import configuration
from app.runtime.backplane import Backplane
from app.runtime.configuration import Extensions
from app.settings import Settings
from app.sockjs.cluster.sessions import SockJsCluster
from app.sockjs.endpoint import SockJs
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

logger = logging.getLogger(__name__)


def directory(
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


def delivery(
    settings: Settings,
    hub: Hub,
    acks: AckManager,
    backplane: Backplane,
    log: DeliveryLog,
    clock: Clock,
    tasks: TaskOwner,
    archive: Archive,
    observer: Observer | None,
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
        archive=archive,
        archive_limit=settings.inbox_max_messages,
        observer=observer,
    )


def publisher(
    settings: Settings,
    delivery: Delivery,
    notify: NotifyManager,
    types: TypeRegistry,
    clock: Clock,
    backplane: Backplane,
    observer: Observer | None,
) -> Publisher:
    return Publisher(
        delivery=delivery,
        history=notify,
        types=types,
        clock=clock,
        lifetime=configuration.lifetime(settings),
        waits=backplane.cluster is not None,
        observer=observer,
    )


def gateway(
    settings: Settings,
    extensions: Extensions,
    hub: Hub,
    delivery: Delivery,
    publisher: Publisher,
    backplane: Backplane,
    authenticator: Authenticator,
    clock: Clock,
    limits: ConnectionLimits,
    observer: Observer | None,
) -> Gateway:
    return Gateway(
        hub=hub,
        delivery=delivery,
        publisher=publisher,
        presence=backplane.presence,
        authenticator=authenticator,
        routes=routes(extensions),
        options=configuration.connection_options(settings),
        allow_topic_send=bool(settings.allow_client_topic_send),
        clock=clock,
        limits=limits,
        observer=observer,
    )


def limits(settings: Settings, clock: Clock) -> ConnectionLimits:
    proxies = configuration.trusted_proxies(settings)
    return ConnectionLimits(configuration.limit_options(settings), proxies=proxies, now=clock.monotonic)


def sockjs(
    settings: Settings, gateway: Gateway, backplane: Backplane, clock: Clock, limits: ConnectionLimits
) -> SockJs:
    options = configuration.sockjs_options(settings)
    node, cluster = backplane.cluster, None
    if node is not None:
        cluster = SockJsCluster(
            node.owners,
            node.channel,
            clock=clock,
            heartbeat_s=options.timing.heartbeat_s,
            refresh_s=REFRESH_S,
            hold_s=settings.inbound_patience_ms / 1000,
        )
    return SockJs(gateway, options, clock=clock, cluster=cluster, limits=limits)


def ack_manager(
    settings: Settings, hub: Hub, backplane: Backplane, clock: Clock, observer: Observer | None
) -> AckManager:
    return AckManager(
        hub=hub,
        ledger=backplane.ledger,
        policy=configuration.retry_policy(settings),
        clock=clock,
        log_events=bool(settings.log_ack_events),
        # A client that returns gets a full inbox and as many persisted messages before it can acknowledge any.
        max_open_per_session=max(settings.max_unacked_per_session, 2 * settings.inbox_max_messages + 1),
        observer=observer,
    )


def access(settings: Settings, authenticator: Authenticator) -> PushAccess:
    keys = configuration.api_keys(settings)
    for number in keys.guessable:
        logger.warning("API_KEYS: key %d is short enough to be guessed", number)
    return PushAccess(keys=keys, authenticator=authenticator, required=settings.app_env == "prod")


def authenticator(settings: Settings, extensions: Extensions, clock: Clock, stack: AsyncExitStack) -> Authenticator:
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


def routes(extensions: Extensions) -> DestinationRoutes:
    routes = DestinationRoutes()
    routes.include(core_routes)
    if extensions.routes is not None:
        routes.include(extensions.routes)
    return routes
