"""The subscriptions of this node at the relay: the union of those of its sessions."""

from collections.abc import Awaitable

from app.delivery.relay import Relay
from app.delivery.streams import Streams
from app.hub.hub import Hub
from app.messages.destinations import TOPIC_PREFIX, USER_MESSAGES


class Interest:
    def __init__(self, hub: Hub, relay: Relay, streams: Streams) -> None:
        self._hub = hub
        self._relay = relay
        self._streams = streams
        hub.on_left = self.lose

    def gain(self, user: str, destination: str) -> Awaitable[None] | None:
        """Subscribe for a session. Await the result until other nodes know of it; None if they do."""
        if destination == USER_MESSAGES:
            self._streams.open(user)
            return self._relay.watch_user(user)
        if destination.startswith(TOPIC_PREFIX):
            return self._relay.watch_topic(destination)
        return None

    def lose(self, user: str, destination: str) -> None:
        """Unsubscribe unless another session of this node still listens."""
        if destination == USER_MESSAGES:
            if not self._hub.is_listening(user, USER_MESSAGES):
                self._streams.close(user)
                self._relay.unwatch_user(user)
        elif destination.startswith(TOPIC_PREFIX) and not self._hub.has_subscribers(destination):
            self._relay.unwatch_topic(destination)
