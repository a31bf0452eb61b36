"""The channels this client is subscribed to, restored after every reconnection."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from hiredis import ReplyError

from app.errors import Unavailable
from app.redis.connection import Connection

CHANNELS_UNDER_WAY = 10_000  # unconfirmed at the same time

logger = logging.getLogger(__name__)


class Subscriptions:
    """The wanted, confirmed and interrupted subscriptions of one client.

    `verbs` are the commands that subscribe and unsubscribe, `at_once` the most channels of one command.
    `connection_of` returns the connection to the server of a channel, or raises Unavailable. `request_restore` has the
    client call `restore` soon.
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
        self._missed: set[str] = set()  # messages may be missed, and `restore` has not reported it yet
        self._pending: dict[str, asyncio.Future[None]] = {}
        self.on_lost: Callable[[Sequence[str]], None] = lambda channels: None
        """Called with channels as soon as messages on them may be missed."""

    def __contains__(self, channel: str) -> bool:
        """Return whether the server has confirmed the subscription."""
        return channel in self._confirmed

    def subscribe(self, channel: str) -> Awaitable[None] | None:
        """Subscribe, and stay subscribed across reconnections.

        Return an awaitable that completes when the server has confirmed it. Return None if it is confirmed already, or
        if the server is away; then the channel is subscribed after the reconnection.
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
        """Unsubscribe, without waiting for the confirmation."""
        self._wanted.discard(channel)
        self._missed.discard(channel)
        self._pending.pop(channel, None)
        connection = self._confirmed.pop(channel, None)
        with contextlib.suppress(Unavailable):  # sent even if the subscription is not confirmed yet
            (connection or self._connection_of(channel)).change_subscriptions(self._unsubscribe, [channel])

    async def restore(self) -> Sequence[str]:
        """Subscribe the lost channels again. Return those that are confirmed and may have missed messages.

        They include channels that a `subscribe` restored in the meantime: its caller missed nothing, earlier
        subscribers did.
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
        """Send the commands now, so that a later `unsubscribe` follows them. Return the confirmations to await."""
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
                except Unavailable:  # the server is too slow: try later
                    self._request_restore()
        return subscribing

    async def _confirm(self, connection: Connection, channels: Sequence[str], done: "asyncio.Future[Any]") -> None:
        """Wait for the confirmation. A lost connection is no error: `restore` subscribes again."""
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
            if not connection.lost:  # it may have ended since the confirmation
                self._confirmed.update((channel, connection) for channel in channels if channel in self._wanted)

    # Called by the client and its connections

    def lose(self, connection: Connection) -> None:
        """Note that a connection, and every subscription on it, has ended."""
        channels = [channel for channel, other in self._confirmed.items() if other is connection]
        for channel in channels:
            del self._confirmed[channel]
        self._miss(channels)

    def drop(self, channel: str) -> None:
        """Note that the server ended a subscription.

        Deferred by one event-loop turn, because earlier confirmations take that long to be recorded.
        """
        asyncio.get_running_loop().call_soon(self._forget, channel)

    def _forget(self, channel: str) -> None:
        if self._confirmed.pop(channel, None) is not None:
            self._miss([channel])
            self._request_restore()

    def _miss(self, channels: Sequence[str]) -> None:
        self._missed.update(channels)
        self.on_lost(channels)
