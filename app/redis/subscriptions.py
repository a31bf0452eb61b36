"""The channels that this node listens to, over all losses of connections."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from hiredis import ReplyError

from app.errors import Unavailable
from app.redis.connection import Connection

CHANNELS_UNDER_WAY = 10_000  # that wait for their confirmation at the same time

logger = logging.getLogger(__name__)


class Subscriptions:
    """`verbs` subscribe and end that, `at_once` channels in one command. `request_restore` asks for a `restore`.

    `connection_of` answers the connection to the server of a channel, or raises Unavailable.
    """

    def __init__(
        self,
        verbs: tuple[str, str],
        *,
        at_once: int,
        connection_of: Callable[[str], Connection],
        request_restore: Callable[[], None],
    ) -> None:
        self._subscribe, self._unsubscribe = verbs
        self._at_once = at_once
        self._connection_of = connection_of
        self._request_restore = request_restore
        self._wanted: set[str] = set()
        self._confirmed: dict[str, Connection] = {}
        self._missed: set[str] = set()  # something may have been published meanwhile, and nobody was told yet
        self._pending: dict[str, asyncio.Future[None]] = {}
        self.on_lost: Callable[[Sequence[str]], None] = lambda channels: None
        """Called at once with channels on which something may be missed from now on."""

    def __contains__(self, channel: str) -> bool:
        """Whether the server has confirmed it."""
        return channel in self._confirmed

    def subscribe(self, channel: str) -> Awaitable[None] | None:
        """From now on, over all losses; to be awaited until the server has confirmed, None if that is so already.

        While the server is away it is None too: the channel is subscribed when it is back.
        """
        self._wanted.add(channel)
        if channel in self._confirmed:
            return None
        pending = self._pending.get(channel)
        if pending is None:
            subscribing = self._subscribe_all([channel])
            if not subscribing:
                return None
            pending = self._pending[channel] = asyncio.ensure_future(subscribing[0])
            pending.add_done_callback(lambda done: self._settle(channel, done))
        return asyncio.shield(pending)

    def _settle(self, channel: str, done: "asyncio.Future[None]") -> None:
        if self._pending.get(channel) is done:
            del self._pending[channel]

    def renew(self, channel: str) -> None:
        """Subscribe again, in case the server lost the subscription without a notice."""
        connection = self._confirmed.get(channel)
        if connection is not None:
            with contextlib.suppress(Unavailable):
                connection.change_subscriptions(self._subscribe, [channel])

    def unsubscribe(self, channel: str) -> None:
        self._wanted.discard(channel)
        self._missed.discard(channel)
        self._pending.pop(channel, None)
        connection = self._confirmed.pop(channel, None)
        with contextlib.suppress(Unavailable):  # also where the confirmation is still on its way
            (connection or self._connection_of(channel)).change_subscriptions(self._unsubscribe, [channel])

    async def restore(self) -> Sequence[str]:
        """Subscribes all that is wanted and was lost; the channels on which something may have been missed.

        What `subscribe` has brought back meanwhile is among them: who asked for that missed nothing, but others did.
        """
        missing = [channel for channel in self._wanted if channel not in self._confirmed]
        self._miss(missing)
        for start in range(0, len(missing), CHANNELS_UNDER_WAY):
            part = missing[start : start + CHANNELS_UNDER_WAY]
            await asyncio.gather(*self._subscribe_all([channel for channel in part if channel in self._wanted]))
        back = [channel for channel in self._missed if channel in self._confirmed]
        self._missed.difference_update(back)
        return back

    def _subscribe_all(self, channels: Sequence[str]) -> Sequence[Coroutine[Any, Any, None]]:
        """Sends it at once, so that an `unsubscribe` comes behind it; to be awaited until it is confirmed."""
        by_connection: dict[Connection, list[str]] = {}
        for channel in channels:
            with contextlib.suppress(Unavailable):
                by_connection.setdefault(self._connection_of(channel), []).append(channel)
        subscribing = []
        for connection, of_connection in by_connection.items():
            for start in range(0, len(of_connection), self._at_once):
                part = of_connection[start : start + self._at_once]
                try:
                    subscribing.append(
                        self._confirm(connection, part, connection.change_subscriptions(self._subscribe, part))
                    )
                except Unavailable:  # it does not keep up: later
                    self._request_restore()
        return subscribing

    async def _confirm(self, connection: Connection, channels: Sequence[str], done: "asyncio.Future[Any]") -> None:
        """A loss in between is no error: what is wanted is subscribed once the server is back."""
        try:
            await done
        except ReplyError as error:
            logger.warning("Redis refuses a subscription: %s", error)
            self._request_restore()
            if str(error).partition(" ")[0] not in ("MOVED", "ASK"):
                connection.abort()
        except Unavailable:
            pass
        else:
            if not connection.lost:  # it may have been given up since the answer came
                self._confirmed.update((channel, connection) for channel in channels if channel in self._wanted)

    # Called for the connections

    def lose(self, connection: Connection) -> None:
        """The connection has ended."""
        channels = [channel for channel, other in self._confirmed.items() if other is connection]
        for channel in channels:
            del self._confirmed[channel]
        self._miss(channels)

    def drop(self, channel: str) -> None:
        """The server ended it. After all that is confirmed already and takes another turn of the loop to be noted."""
        asyncio.get_running_loop().call_soon(self._forget, channel)

    def _forget(self, channel: str) -> None:
        if self._confirmed.pop(channel, None) is not None:
            self._miss([channel])
            self._request_restore()

    def _miss(self, channels: Sequence[str]) -> None:
        self._missed.update(channels)
        self.on_lost(channels)
