"""What every connection works with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.auth.ports import Authenticator
from app.delivery.delivery import Delivery
from app.disconnects import DisconnectReason
from app.gateway.dispatch import Dispatcher
from app.gateway.presence import Presence
from app.hub.hub import Hub
from app.stomp.heartbeat import Heartbeat
from app.stomp.session import SessionLimits
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

if TYPE_CHECKING:
    from app.gateway.connection import Connection


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
    """`admitting` is told which session a connection is about to become, `admitted` when it is one, `ended` when it is
    over, `gone` when its transport is, too. `retire` ends a session of this node for a newer one of its device. `held`:
    a frame of the connection waits for `Connection.let_through`.
    """

    hub: Hub
    delivery: Delivery
    presence: Presence
    authenticator: Authenticator
    dispatcher: Dispatcher
    tasks: TaskOwner
    options: ConnectionOptions
    clock: Clock
    admitting: Callable[["Connection", str], None]
    admitted: Callable[["Connection"], None]
    retire: Callable[[str], Awaitable[None]]
    held: Callable[["Connection"], None]
    ended: Callable[["Connection", DisconnectReason], None]
    gone: Callable[["Connection"], None]
