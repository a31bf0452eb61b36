"""A mailbox that lives elsewhere: its answers take a turn of the loop or more."""

import asyncio
from collections.abc import Callable, Sequence

from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.delivery.mailbox import Keep, Kind, MailboxLimits, Placed
from app.errors import Unavailable
from app.messages.message import Envelope
from tests.clock import FakeClock


class RemoteMailbox(MemoryMailbox):
    """Answers only while `answering`; `failures` calls of `put` and `read` fail first; `unsafe` is what puts say."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(MailboxLimits(window_ms=0), self.clock)
        super().__init__(self.store)
        self.answering = asyncio.Event()
        self.answering.set()
        self.failures = 0
        self.unsafe: Unavailable | None = None
        self.puts = self.reads = 0

    async def put(
        self,
        envelope: Envelope,
        *,
        keep: Keep = Keep.ALWAYS,
        kind: Kind = Kind.NEW,
        digest: str = "",
        on_accepted: Callable[[Placed], None] = lambda placed: None,
    ) -> Placed:
        """The message is there before the answer is."""
        if keep is Keep.NEVER:
            return await super().put(envelope, keep=keep, kind=kind, digest=digest, on_accepted=on_accepted)
        self._fail()
        self.puts += 1
        placed = await super().put(envelope, keep=keep, kind=kind, digest=digest)
        await self._answer()
        if placed.known is None:
            on_accepted(placed)
        return placed._replace(unsafe=self.unsafe)

    async def read(  # type: ignore[override]  # the port allows both
        self, user: str, now_ms: int, on_head: Callable[[int], None]
    ) -> Sequence[Envelope]:
        """The answer may be old when it comes."""
        self._fail()
        self.reads += 1
        heads: list[int] = []
        envelopes = super().read(user, now_ms, heads.append)
        await self._answer()
        on_head(heads[0])
        return envelopes

    async def _answer(self) -> None:
        answering = self.answering
        await asyncio.sleep(0)
        await answering.wait()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the mailbox is away")
