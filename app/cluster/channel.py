"""Direct messages from one node to another, over the channel of each node."""

from collections.abc import Callable

from app.cluster.keys import node_channel
from app.cluster.wire import Kind, NodeMessage, label
from app.redis.client import RedisClient


class RedisNodeChannel:
    """Sends and receives direct messages, in order. Messages sent while a connection to Redis breaks may be lost."""

    def __init__(self, client: RedisClient, *, node: str) -> None:
        self.node = node
        self._client = client
        self._label = label(Kind.DIRECT, node)
        self._receive: Callable[[str, bytes], None] = lambda sender, content: None

    async def send(self, node: str, content: bytes) -> bool:
        """Send a message. Return False if the node does not listen, so it has ended. Raises Unavailable."""
        return bool(await self._client.publish(node_channel(node), self._label + content))

    def listen(self, receive: Callable[[str, bytes], None]) -> None:
        self._receive = receive

    def receive(self, message: NodeMessage) -> None:
        """Handle a direct message that the relay received."""
        self._receive(message.sender, message.content)
