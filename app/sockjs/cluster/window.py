"""Flow control between nodes: Redis disconnects a subscriber for which it has to buffer too much."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field

from app.errors import Unavailable
from app.sockjs.cluster.messages import Mark, MarkRead, Message, NodeChannel, encode

WINDOW_BYTES = 1_048_576  # to one node; Redis buffers 32 MB for a subscriber, and thirty nodes may write to it at once
READ_TIMEOUT_S = 3.0


@dataclass(slots=True)
class _Window:
    """What one node was sent: `unread_bytes` since it last confirmed that it has read everything."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unread_bytes: int = 0


class WindowedChannel:
    """Sends to other nodes, at most WINDOW_BYTES ahead of what each has read."""

    def __init__(self, channel: NodeChannel) -> None:
        self._channel = channel
        self._windows: dict[str, _Window] = {}
        self._numbers = itertools.count(1)
        self._marks: dict[int, asyncio.Future[None]] = {}

    async def send(self, node: str, message: Message) -> bool:
        """Send in order, after room is confirmed. Return False if the node has ended. Raises Unavailable."""
        content = encode(message)
        window = self._windows.setdefault(node, _Window())
        async with window.lock:
            if window.unread_bytes and window.unread_bytes + len(content) > WINDOW_BYTES:
                await self._await_read(node)
                window.unread_bytes = 0
            window.unread_bytes += len(content)
        is_there = await self._channel.send(node, content)
        if not is_there:
            self._windows.pop(node, None)
        return is_there

    async def _await_read(self, node: str) -> None:
        """Wait until the node confirms a mark. It reads in order, so it has read all that was sent before."""
        number = next(self._numbers)
        read = self._marks[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                if await self._channel.send(node, encode(Mark(number))):
                    await read
        except TimeoutError:
            raise Unavailable("the other node does not read what it is sent", retry_after_s=1) from None
        finally:
            del self._marks[number]

    async def confirm(self, sender: str, mark: Mark) -> None:
        """Tell another node that this one has read up to its mark."""
        with contextlib.suppress(Unavailable):
            await self._channel.send(sender, encode(MarkRead(mark.number)))

    def receive(self, message: MarkRead) -> None:
        read = self._marks.get(message.number)
        if read is not None and not read.done():
            read.set_result(None)
