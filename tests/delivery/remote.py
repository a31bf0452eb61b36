"""An inbox that lives elsewhere: its answers take a turn of the loop or more."""

import asyncio
from collections.abc import Sequence

from app.delivery.inbox import InboxLimits, Keep, MemoryInbox, Placed
from app.errors import Unavailable
from app.messages.message import Envelope


class RemoteInbox(MemoryInbox):
    """Answers only while `answering`; `failures` calls of `put` and `pending` fail first; `unsafe` is what puts say."""

    def __init__(self) -> None:
        super().__init__(InboxLimits())
        self.answering = asyncio.Event()
        self.answering.set()
        self.failures = 0
        self.unsafe: Unavailable | None = None
        self.puts = self.looks = 0

    async def put(self, envelope: Envelope, *, keep: Keep = Keep.ALWAYS) -> Placed:
        """The message is there before the answer is."""
        if keep is Keep.NEVER:
            return await super().put(envelope, keep=keep)
        self._fail()
        self.puts += 1
        placed = await super().put(envelope, keep=keep)
        await self._answer()
        return placed._replace(unsafe=self.unsafe)

    async def pending(self, receiver: str, now_ms: int) -> Sequence[Envelope]:
        """The answer may be old when it comes."""
        self._fail()
        self.looks += 1
        envelopes = await super().pending(receiver, now_ms)
        await self._answer()
        return envelopes

    async def _answer(self) -> None:
        answering = self.answering
        await asyncio.sleep(0)
        await answering.wait()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the inbox is away")
