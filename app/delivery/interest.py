"""What the sessions of this node listen to, so that it gets that from the others and nothing else."""

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
        """A session of the user listens to it; to be awaited until the other nodes know, None if they do."""
        if destination == USER_MESSAGES:
            self._streams.open(user)
            return self._relay.watch_user(user)
        if destination.startswith(TOPIC_PREFIX):
            return self._relay.watch_topic(destination)
        return None

    def lose(self, user: str, destination: str) -> None:
        """A session of the user listens to it no more; others may."""
        if destination == USER_MESSAGES:
            if not self._hub.is_listening(user, USER_MESSAGES):
                self._streams.close(user)
                self._relay.unwatch_user(user)
        elif destination.startswith(TOPIC_PREFIX) and not self._hub.has_subscribers(destination):
            self._relay.unwatch_topic(destination)
