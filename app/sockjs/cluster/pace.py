"""Never far ahead of a node that reads: Redis cuts off a subscriber for whom it has to keep too much."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field

from app.errors import Unavailable
from app.sockjs.cluster.post import Note, Post, encode_note

WINDOW_BYTES = 1_048_576  # to one node; Redis keeps 32 MB for a subscriber, and thirty nodes may write to it at once
READ_S = 3.0  # for a node to say that it has read


@dataclass(slots=True)
class _Lane:
    """To one node; `unread_bytes` since it last said that it has read."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    unread_bytes: int = 0


class PacedPost:
    """A post that waits, in order, until the node has read what went before."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._lanes: dict[str, _Lane] = {}
        self._numbers = itertools.count(1)
        self._marks: dict[int, asyncio.Future[None]] = {}

    async def send(self, node: str, content: bytes) -> bool:
        """As `Post.send`; Unavailable also of a node that does not read."""
        lane = self._lanes.setdefault(node, _Lane())
        async with lane.turn:
            if lane.unread_bytes and lane.unread_bytes + len(content) > WINDOW_BYTES:
                await self._await_reading(node)
                lane.unread_bytes = 0
            lane.unread_bytes += len(content)
        is_there = await self._post.send(node, content)
        if not is_there:
            self._lanes.pop(node, None)
        return is_there

    async def _await_reading(self, node: str) -> None:
        """It reads in order: when it answers a mark, it has all that came before."""
        number = next(self._numbers)
        read = self._marks[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(READ_S):
                if await self._post.send(node, encode_note(Note("mark", number))):
                    await read
        except TimeoutError:
            raise Unavailable("the node does not keep up", retry_after_s=1) from None
        finally:
            del self._marks[number]

    async def answer(self, sender: str, note: Note) -> None:
        """This node has read up to a mark."""
        with contextlib.suppress(Unavailable):
            await self._post.send(sender, encode_note(Note("read", note.number)))

    def receive(self, note: Note) -> None:
        """Another node has."""
        read = self._marks.get(note.number)
        if read is not None and not read.done():
            read.set_result(None)
