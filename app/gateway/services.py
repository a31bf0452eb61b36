"""The services and options that all connections share."""

from dataclasses import dataclass, field

from app.auth.ports import Authenticator
from app.delivery.delivery import Delivery
from app.gateway.dispatch import Dispatcher
from app.gateway.presence import Presence
from app.hub.hub import Hub
from app.stomp.heartbeat import Heartbeat
from app.stomp.session import SessionLimits
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    server: str = "stomp-notify"
    limits: SessionLimits = field(default_factory=SessionLimits)
    heartbeat: Heartbeat = field(default_factory=lambda: Heartbeat(10_000, 10_000))
    connect_timeout_s: float = 10.0
    max_sessions_per_user: int = 10
    inbound_rate: float = 100.0
    inbound_burst: float = 200.0
    inbound_patience_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the service that every connection uses."""

    hub: Hub
    delivery: Delivery
    presence: Presence
    authenticator: Authenticator
    dispatcher: Dispatcher
    tasks: TaskOwner
    options: ConnectionOptions
    clock: Clock
