"""All connections of this node, and the one timer that looks after them."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from app.auth.ports import Authenticator
from app.clock import Clock
from app.delivery.delivery import Delivery
from app.disconnects import FORCED, RESTART, DisconnectReason
from app.gateway.connection import Connection, ConnectionOptions, Services
from app.gateway.dispatch import Dispatcher
from app.gateway.routing import DestinationRoutes
from app.gateway.tasks import TaskOwner
from app.hub.hub import Hub
from app.hub.transport import Transport

TICK_S = 1.0


class Gateway:
    """Makes connections of transports. `run` must be running for heart-beats and time limits to be kept."""

    def __init__(
        self,
        *,
        hub: Hub,
        delivery: Delivery,
        authenticator: Authenticator,
        routes: DestinationRoutes,
        options: ConnectionOptions,
        allow_topic_send: bool,
        clock: Clock,
    ) -> None:
        self._connections: dict[Connection, None] = {}
        self._tasks = TaskOwner()
        self._clock = clock
        self.disconnects: Counter[DisconnectReason] = Counter()
        self._services = Services(
            hub=hub,
            delivery=delivery,
            authenticator=authenticator,
            dispatcher=Dispatcher(
                hub=hub, delivery=delivery, routes=routes, tasks=self._tasks, allow_topic_send=allow_topic_send
            ),
            tasks=self._tasks,
            options=options,
            clock=clock,
            ended=self._ended,
        )

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._connections))

    def open(self, transport: Transport) -> Connection:
        """The transport owes the connection every byte that comes, and one `closed` at the end."""
        connection = Connection(transport, self._services)
        self._connections[connection] = None
        return connection

    def _ended(self, connection: Connection, reason: DisconnectReason) -> None:
        del self._connections[connection]
        self.disconnects[reason] += 1

    def kick(self, session_id: str) -> bool:
        """Ends a session of this node so that its client stays away. False if there is none of that id."""
        for connection in self:
            if connection.session is not None and connection.session.id == session_id:
                connection.end(FORCED)
                return True
        return False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic()
            for connection in self:
                connection.tick(now_s, TICK_S)

    async def aclose(self) -> None:
        """Tells every client to reconnect elsewhere."""
        for connection in self:
            connection.end(RESTART)
        await self._tasks.aclose()
