"""All connections of this node, and the timer that keeps their heart-beats and time limits."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence

from app.auth.ports import Authenticator
from app.connections.limits import ConnectionLimits, Kind
from app.delivery.delivery import Delivery
from app.delivery.observer import Connected, Disconnected, Observer, Refused
from app.disconnects import FORCED, HEARTBEAT_LOST, REPLACED, RESTART, DisconnectReason
from app.gateway.connection import Connection
from app.gateway.dispatch import Dispatcher
from app.gateway.failures import Failure
from app.gateway.liveness import Silence
from app.gateway.overdue import Verdict
from app.gateway.presence import Presence
from app.gateway.routing import DestinationRoutes
from app.gateway.services import ConnectionOptions, Services
from app.gateway.supervision import judge, look_after
from app.hub.hub import Hub
from app.hub.session import Session
from app.hub.transport import WEBSOCKET, Transport
from app.push.publisher import Publisher
from app.stomp.heartbeat import Heartbeat
from app.timing.clock import Clock
from app.timing.schedule import Schedule
from app.timing.tasks import TaskOwner

LONGEST_TICK_S = 0.25
SHORTEST_TICK_S = 0.05
TICKS_PER_INTERVAL = 10
LATE_TICKS = 3  # that a check may be late: one for the schedule, one for the timer, one for a busy loop
HELD_SLICE = 20  # connections whose frames are let through before the loop gets a turn
TICK_SLICE = 500  # connections that are looked after before the loop gets a turn: a millisecond or two
DRAIN_S = 5.0  # for clients to take what was sent to them before the process ends

logger = logging.getLogger(__name__)


class Gateway:
    """Opens connections for transports and ends them. `run` must be running: it keeps heart-beats and time limits.

    `draining`: the process is about to end, and new connections are closed with SERVICE RESTART at once.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        delivery: Delivery,
        publisher: Publisher,
        presence: Presence,
        authenticator: Authenticator,
        routes: DestinationRoutes,
        options: ConnectionOptions,
        allow_topic_send: bool,
        clock: Clock,
        limits: ConnectionLimits,
        observer: Observer | None = None,
    ) -> None:
        self._limits = limits
        self._connections: dict[Connection, int] = {}  # and their slots in the schedule
        self._sessions: dict[str, Connection] = {}  # also those that are just being counted in, or have left the hub
        self._transports: set[Connection] = set()  # those of connections that are over may still have to flush
        self._held: set[Connection] = set()  # they send faster than they may
        self._all_gone = asyncio.Event()
        self._tick_s = tick_s(options.heartbeat)
        self._schedule: Schedule[Connection] = Schedule(self._tick_s)
        self.draining = False
        self._tasks = TaskOwner()
        self._clock = clock
        self._observer = observer
        self._services = Services(
            hub=hub,
            delivery=delivery,
            presence=presence,
            authenticator=authenticator,
            dispatcher=Dispatcher(
                hub=hub,
                delivery=delivery,
                publisher=publisher,
                routes=routes,
                tasks=self._tasks,
                allow_topic_send=allow_topic_send,
            ),
            tasks=self._tasks,
            options=options,
            clock=clock,
        )
        presence.on_replaced = self._replaced
        presence.end_overdue = self.end_overdue

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections))

    def open(self, transport: Transport) -> Connection:
        """Return a connection. The transport passes it every byte that arrives, and calls `closed` once at the end."""
        connection = Connection(transport, self._services, self)
        self._connections[connection] = self._schedule.add(connection, self._clock.monotonic() + self._tick_s)
        self._transports.add(connection)
        self._all_gone.clear()
        kind = Kind.WEBSOCKET if transport.name == WEBSOCKET else Kind.SOCKJS
        connection.place = self._limits.enter(connection, transport.remote, kind)
        if self.draining:
            connection.end(RESTART)
        return connection

    # The port Owner, which connections call

    def admitting(self, connection: Connection) -> None:
        self._sessions[connection.session_id] = connection

    async def retire(self, session_id: str) -> None:
        connection = self._sessions.get(session_id)
        if connection is not None:
            await connection.retire()

    def admitted(self, connection: Connection, session: Session) -> None:
        self._limits.authenticated(connection, connection.place)
        name, remote = connection.transport.name, connection.transport.remote
        if self._observer is not None:
            self._observer(Connected(session.id, session.user, session.client_id, name, remote))
        logger.info("session %s of %s opened: %s, STOMP %s", session.id, session.user, name, session.version)

    def refused(self, connection: Connection, failure: Failure) -> None:
        name, remote = connection.transport.name, connection.transport.remote
        if connection.session is None and self._observer is not None:
            self._observer(Refused(failure.reason, failure.detail, name, remote))
        logger.info("%s refused: %s", connection.name, failure.detail)

    def held_back(self, connection: Connection) -> None:
        self._held.add(connection)

    def ended(self, connection: Connection, reason: DisconnectReason) -> None:
        self._held.discard(connection)
        self._sessions.pop(connection.session_id, None)
        self._schedule.discard(connection, self._connections.pop(connection))
        session = connection.session
        if session is None:
            self._limits.exempt(connection, connection.place)
            return
        if self._observer is not None:
            duration_ms = max(self._clock.epoch_ms() - session.connected_ms, 0)
            self._observer(Disconnected(session.id, session.user, reason, duration_ms))
        logger.log(reason.log_level, "session %s of %s closed: %s", session.id, session.user, reason.text)

    def gone(self, connection: Connection) -> None:
        if connection not in self._transports:
            return
        self._transports.discard(connection)
        self._limits.leave(connection.place)
        if not self._transports:
            self._all_gone.set()

    # Ending one session

    def kick(self, session_id: str) -> bool:
        """End a session with a code that tells its client not to reconnect. Return False if there is none."""
        return self._end(session_id, FORCED)

    def _replaced(self, session_id: str) -> None:
        self._end(session_id, REPLACED)

    def _end(self, session_id: str, reason: DisconnectReason) -> bool:
        connection = self._sessions.get(session_id)
        if connection is not None:
            connection.end(reason)
        return connection is not None

    def end_overdue(self, user: str, again: bool) -> Verdict:
        """End the user's most overdue session of this node, as `Presence.end_overdue` asks."""
        now_s = self._clock.monotonic()
        connections = [self._sessions[session.id] for session in self._services.hub.sessions_of(user)]
        silences = {connection: judge(connection, now_s, again) for connection in connections}
        overdue = [connection for connection, silence in silences.items() if silence is Silence.OVERDUE]
        if not overdue:
            return Verdict(asked=Silence.ASKED in silences.values())
        longest = min(overdue, key=lambda connection: connection.life.heard_s)
        longest.end(HEARTBEAT_LOST)
        return Verdict(ended=[longest.session_id])

    # Time

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SHORTEST_TICK_S if self._held else self._tick_s)
            held = self.held()
            for start in range(0, len(held), HELD_SLICE):
                self.let_through(held[start : start + HELD_SLICE])
                await asyncio.sleep(0)
            due = self.due()
            for start in range(0, len(due), TICK_SLICE):
                self.look_after(due[start : start + TICK_SLICE])
                await asyncio.sleep(0)

    def held(self) -> Sequence[Connection]:
        """Return the connections that the rate limit holds back."""
        return tuple(self._held)

    def let_through(self, connections: Iterable[Connection]) -> None:
        """Handle as many held-back frames of each client as the rate limit now allows."""
        for connection in connections:
            if connection in self._held:
                connection.let_through()
                if not connection.is_held:
                    self._held.discard(connection)

    def due(self) -> list[Connection]:
        """Return the connections whose heart-beats and time limits must be checked now, and unschedule them."""
        return self._schedule.pop_due(self._clock.monotonic())

    def look_after(self, connections: Iterable[Connection]) -> None:
        now_s, late_s = self._clock.monotonic(), LATE_TICKS * self._tick_s
        connect_timeout_s = self._services.options.connect_timeout_s
        for connection in connections:
            if connection not in self._connections:
                continue
            check_s = look_after(connection, now_s, late_s, connect_timeout_s)
            if check_s is not None and connection in self._connections:
                self._connections[connection] = self._schedule.add(connection, check_s)

    async def drain(self) -> None:
        """Close every session with 1012. Wait up to DRAIN_S until the clients have received what was sent."""
        self._end_all()
        if self._transports:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), DRAIN_S)

    async def aclose(self) -> None:
        """End all remaining connections at once."""
        self._end_all()
        await self._tasks.aclose()

    def _end_all(self) -> None:
        self.draining = True
        for connection in self:
            connection.end(RESTART)


def tick_s(heartbeat: Heartbeat) -> float:
    """Return the timer's interval in seconds: a tenth of the shortest heart-beat, within bounds."""
    intervals = [ms for ms in (heartbeat.send_ms, heartbeat.receive_ms) if ms]
    wanted = min(intervals, default=math.inf) / 1000 / TICKS_PER_INTERVAL
    return min(max(wanted, SHORTEST_TICK_S), LONGEST_TICK_S)
