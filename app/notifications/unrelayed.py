"""Pushes stored messages as soon as relay and database allow, if they could not be pushed when they were stored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from app.errors import Unavailable
from app.messages.message import NotifyMessage
from app.timing.clock import Clock

PERIOD_S = 0.25
MAX_MESSAGES = 10_000  # recovery pushes those above this number, after its grace

logger = logging.getLogger(__name__)


class Unrelayed:
    """`run` must be running.

    `push` pushes one message and `reaches` says whether that may work now. `find_unpushed` returns those of the ids
    that are stored and were not pushed. Both raise Unavailable.
    """

    def __init__(
        self,
        *,
        push: Callable[[NotifyMessage], Awaitable[object]],
        reaches: Callable[[str], bool],
        find_unpushed: Callable[[Sequence[str]], Awaitable[Sequence[NotifyMessage]]],
        clock: Clock,
        uncertain_s: float,
    ) -> None:
        self._push = push
        self._reaches = reaches
        self._find_unpushed = find_unpushed
        self._clock = clock
        self._uncertain_s = uncertain_s
        self._stored: dict[str, NotifyMessage] = {}
        self._uncertain: dict[str, float] = {}  # until when they may turn up
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._stored) + len(self._uncertain)

    def add(self, message: NotifyMessage) -> None:
        """Add a message that is stored."""
        if len(self._stored) < MAX_MESSAGES:
            self._stored[message.id] = message
            self._wake.set()

    def add_uncertain(self, ids: Sequence[str]) -> None:
        """Add ids whose insert got no reply from the database. They are looked up for a while."""
        if len(self._uncertain) < MAX_MESSAGES:
            self._uncertain.update(dict.fromkeys(ids, self._clock.monotonic() + self._uncertain_s))
            self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._wake.wait()
            try:
                await self._find()
                await self._push_all()
            except Unavailable as error:
                logger.info("%d stored messages wait to be pushed: %s", len(self), error.detail)
            except Exception:  # the outer edge of the task: recovery pushes what this cannot
                logger.exception("stored messages could not be pushed")
            if not self._stored and not self._uncertain:
                self._wake.clear()
            else:
                await asyncio.sleep(PERIOD_S)

    async def _find(self) -> None:
        if not self._uncertain:
            return
        try:
            found = await self._find_unpushed(list(self._uncertain))
        except Unavailable:
            return  # what is known to be stored goes on
        for message in found:
            self._uncertain.pop(message.id, None)
            self.add(message)
        now_s = self._clock.monotonic()
        self._uncertain = {id: until_s for id, until_s in self._uncertain.items() if until_s > now_s}

    async def _push_all(self) -> None:
        for message in tuple(self._stored.values()):
            if self._reaches(message.receiver or ""):
                self._stored.pop(message.id, None)
                try:
                    await self._push(message)
                except BaseException:
                    self.add(message)  # behind the others, whose server may take them
                    raise
