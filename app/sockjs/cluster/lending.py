"""Sessions of this node that requests at other nodes use."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import Unavailable
from app.sockjs.cluster.pace import PacedPost
from app.sockjs.cluster.post import Note, encode_note
from app.sockjs.session import Busy, Lease, OneFrame, Queued, SockJsSession
from app.timing.clock import Clock
from app.timing.tasks import TaskOwner

WRITE_S = 30.0  # for the client of another node to take a frame

FindSession = Callable[[str], SockJsSession | None]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Loan:
    """`until_s`: when a frame must have been written, or the client of the other node counts as gone; of a poll, when
    nobody can say any more that its frame never came.
    """

    source: Lease | OneFrame | Queued
    once: bool
    until_s: float | None = None


class Lending:
    """A loan is one receiving request. It gets a frame, and the next when it has written that one.

    A poll is over before its frame is sent: the client's next request may come by way of a third node. What is lost on
    the way ends the session; the borrower says so within `silence_s`.
    """

    def __init__(self, post: PacedPost, *, clock: Clock, tasks: TaskOwner, silence_s: float) -> None:
        self._post = post
        self._clock = clock
        self._tasks = tasks
        self._silence_s = silence_s
        self._loans: dict[tuple[str, int], Loan] = {}
        self.find: FindSession = lambda session: None

    # What other nodes say

    def attach(self, sender: str, note: Note) -> None:
        session = self.find(note.session)
        if session is None:
            self._tell(sender, note, "unknown")
            return
        loan = self._loans[sender, note.number] = Loan(session.attach(), note.once)
        self._tasks.start(self._bring_first(sender, note, loan), f"frames for node {sender}")

    def next(self, sender: str, note: Note) -> None:
        loan = self._loans.get((sender, note.number))
        if loan is None:
            self._tell(sender, note, "end")
            return
        loan.until_s = None
        self._tasks.start(self._bring(sender, note, loan), f"frames for node {sender}")

    def finish(self, sender: str, note: Note) -> None:
        """Answered, for the client may come to this node next, past all letters."""
        loan = self._loans.pop((sender, note.number), None)
        if loan is not None:
            loan.source.finish_now()
        self._tell(sender, note, "end")

    def release(self, sender: str, note: Note) -> None:
        loan = self._loans.pop((sender, note.number), None)
        if loan is not None:
            loan.source.lose()

    def send(self, sender: str, note: Note) -> None:
        self._tasks.start(self._take(sender, note), f"messages by way of node {sender}")

    # Answers

    async def _bring_first(self, sender: str, note: Note, loan: Loan) -> None:
        if loan.source.is_ready or await self._answer(sender, note, "attached"):
            await self._bring(sender, note, loan)
        else:
            self.release(sender, note)

    async def _bring(self, sender: str, note: Note, loan: Loan) -> None:
        frame = await loan.source.next(note.max_bytes)
        if frame is None:
            self.finish(sender, note)
            return
        if loan.once:
            loan.source.finish_now()
        loan.until_s = self._clock.monotonic() + (self._silence_s if loan.once else WRITE_S)
        if not await self._answer(sender, note, "frame", frame):
            self.release(sender, note)

    async def _take(self, sender: str, note: Note) -> None:
        session = self.find(note.session)
        if session is None:
            await self._answer(sender, note, "unknown")
            return
        try:
            await session.receive(json.loads(note.body))
        except Busy:
            await self._answer(sender, note, "busy")
        else:
            await self._answer(sender, note, "taken")

    def _tell(self, sender: str, note: Note, word: str) -> None:
        self._tasks.start(self._say(sender, note, word), f"answer to node {sender}")

    async def _say(self, sender: str, note: Note, word: str) -> None:
        await self._answer(sender, note, word)

    async def _answer(self, sender: str, note: Note, word: str, body: bytes = b"") -> bool:
        try:
            return await self._post.send(sender, encode_note(Note(word, note.number, body=body)))
        except Unavailable as error:
            logger.info("node %s cannot be told %r: %s", sender, word, error)
            return False

    # Time

    def tick(self, now: float) -> None:
        for key, loan in tuple(self._loans.items()):
            if loan.until_s is not None and now > loan.until_s:
                del self._loans[key]
                loan.source.release()
