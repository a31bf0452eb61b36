"""From node to node, past all others: over the channel on which each node gets its answers."""

from collections.abc import Callable

from app.cluster.keys import node_channel
from app.cluster.wire import Kind, NodeMessage, label
from app.redis.client import RedisClient


class RedisPost:
    """In order; what is sent while a connection to Redis breaks may be lost."""

    def __init__(self, client: RedisClient, *, node: str) -> None:
        self.node = node
        self._client = client
        self._label = label(Kind.DIRECT, node)
        self._receive: Callable[[str, bytes], None] = lambda sender, content: None

    async def send(self, node: str, content: bytes) -> bool:
        """False: the node does not listen, which means that it is gone. Raises Unavailable."""
        return bool(await self._client.publish(node_channel(node), self._label + content))

    def listen(self, receive: Callable[[str, bytes], None]) -> None:
        self._receive = receive

    def receive(self, message: NodeMessage) -> None:
        """For `RedisRelay.on_other`."""
        self._receive(message.sender, message.content)
