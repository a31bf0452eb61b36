"""Sessions of other nodes that requests at this node use."""

import asyncio
import itertools
import json
import logging
from collections import deque

from app.errors import Unavailable
from app.sockjs.cluster.pace import PacedPost
from app.sockjs.cluster.post import Note, encode_note
from app.timing.tasks import TaskOwner

ANSWER_S = 3.0  # for a node that is there to say whether it has a session
LOOK_S = 5.0  # between two looks whether the owners are still there
TAKE_S = 20.0  # for a session to take what was sent to it, if it does not keep its client waiting

logger = logging.getLogger(__name__)


class Gone(Exception):
    """There is no such node any more."""


class Borrowing:
    """`silence_s`: then the owner is gone. `patience_s`: how long a session may keep a client waiting that sends."""

    def __init__(self, post: PacedPost, *, tasks: TaskOwner, silence_s: float, patience_s: float) -> None:
        self._post = post
        self._tasks = tasks
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._borrowed: dict[int, Borrowed] = {}
        self._is_draining = False
        self._looked_s = 0.0
        self._missed: set[str] = set()
        self.silence_s = silence_s

    async def attach(self, owner: str, session: str, *, once: bool, max_bytes: int) -> "Borrowed | None":
        """None: the owner is gone, or does not have the session. Raises Unavailable."""
        number = next(self._numbers)
        borrowed = self._borrowed[number] = Borrowed(self, owner, number, once=once)
        is_known = False
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.post(owner, Note("attach", number, session, max_bytes, once))
                is_known = await borrowed.is_known()
        except (Gone, TimeoutError) as error:
            logger.info("node %s does not answer for a session: %s", owner, error)
        finally:
            if not is_known:
                borrowed.release()
        if self._is_draining:
            borrowed.give_back()
        return borrowed if is_known else None

    async def send(self, owner: str, session: str, messages: list[str]) -> str:
        """taken, busy, or unknown; the last also where the owner is gone. Raises Unavailable."""
        note = Note("send", next(self._numbers), session, body=json.dumps(messages).encode())
        try:
            return await self._ask(owner, note, TAKE_S + self._patience_s)
        except Gone:
            return "unknown"
        except TimeoutError:
            raise Unavailable("the node that has the session does not answer", retry_after_s=1) from None

    async def _ask(self, owner: str, note: Note, timeout_s: float) -> str:
        """Raises Gone, TimeoutError and Unavailable."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[note.number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self.post(owner, note)
                return await answer
        finally:
            del self._asked[note.number]

    def receive(self, note: Note) -> None:
        """An answer."""
        borrowed, asked = self._borrowed.get(note.number), self._asked.get(note.number)
        if borrowed is not None:
            borrowed.receive(note)
        elif asked is not None and not asked.done():
            asked.set_result(note.word)

    def drain(self) -> None:
        self._is_draining = True
        for borrowed in tuple(self._borrowed.values()):
            borrowed.give_back()

    # Time

    def tick(self, now: float) -> None:
        if now - self._looked_s > LOOK_S:
            self._looked_s = now
            self._tasks.start(self._look(), "look whether owners of sessions are there")

    async def _look(self) -> None:
        """Or the clients of a node that has died would wait for the whole silence. One miss may be an accident."""
        missed = set()
        for owner in {borrowed.owner for borrowed in self._borrowed.values()}:
            try:
                await self.post(owner, Note("look", 0))
            except Gone:
                missed.add(owner)
            except Unavailable:  # nobody can be seen
                break
        for borrowed in tuple(self._borrowed.values()):
            if borrowed.owner in self._missed & missed:
                borrowed.release()
        self._missed = missed

    # For what is borrowed

    async def post(self, owner: str, note: Note) -> None:
        """Raises Gone, and Unavailable."""
        if not await self._post.send(owner, encode_note(note)):
            raise Gone("it does not listen")

    def remove(self, borrowed: "Borrowed") -> bool:
        """False if it was not there any more."""
        return self._borrowed.pop(borrowed.number, None) is not None

    async def finish(self, borrowed: "Borrowed") -> None:
        """Returns once the owner knows."""
        try:
            await self._ask(borrowed.owner, Note("finish", borrowed.number), ANSWER_S)
        except (Gone, Unavailable, TimeoutError) as error:
            logger.info("node %s keeps a loan until it notices: %s", borrowed.owner, error)

    def tell(self, borrowed: "Borrowed", word: str) -> None:
        self._tasks.start(self._tell(borrowed, word), f"{word} of a session of node {borrowed.owner}")

    async def _tell(self, borrowed: "Borrowed", word: str) -> None:
        try:
            await self.post(borrowed.owner, Note(word, borrowed.number))
        except (Gone, Unavailable) as error:
            logger.info("node %s keeps a loan until it notices: %s", borrowed.owner, error)
            borrowed.release()


class Borrowed:
    """A source of frames."""

    def __init__(self, borrowing: Borrowing, owner: str, number: int, *, once: bool) -> None:
        self.owner = owner
        self.number = number
        self._borrowing = borrowing
        self._once = once
        self._answers: deque[Note] = deque()
        self._wake = asyncio.Event()
        self._is_waiting = True  # for a frame that was asked for, as the first is by attaching
        self._is_over = False

    # Answers

    def receive(self, note: Note) -> None:
        self._answers.append(note)
        self._wake.set()

    async def is_known(self) -> bool:
        await self._wake.wait()
        if self._is_over:
            return False
        if self._answers[0].word in ("attached", "unknown"):
            return self._take().word == "attached"
        return True

    def _take(self) -> Note:
        """The last answer that there can be is the end of the loan."""
        answer = self._answers.popleft()
        if answer.word in ("unknown", "end") or (answer.word == "frame" and self._once):
            self._borrowing.remove(self)
        return answer

    # The port

    async def next(self, max_bytes: int) -> bytes | None:
        try:
            async with asyncio.timeout(self._borrowing.silence_s):
                return await self._next(max_bytes)
        except (Gone, Unavailable, TimeoutError) as error:
            logger.info("node %s has gone with a session: %s", self.owner, error)
            self.release()  # a frame may be lost
            return None

    async def _next(self, max_bytes: int) -> bytes | None:
        if not (self._is_waiting or self._answers):
            self._is_waiting = True
            await self._borrowing.post(self.owner, Note("next", self.number, max_bytes=max_bytes))
        while not self._answers and not self._is_over:
            self._wake.clear()
            await self._wake.wait()
        if self._is_over:
            return None
        self._is_waiting = False
        answer = self._take()
        return answer.body if answer.word == "frame" else None

    async def finish(self) -> None:
        if self._borrowing.remove(self):
            await self._borrowing.finish(self)

    def release(self) -> None:
        self._is_over = True
        self._wake.set()
        if self._borrowing.remove(self):
            self._borrowing.tell(self, "release")

    def give_back(self) -> None:
        """The owner answers with the end, or with a frame that is under way already, and the end behind it."""
        self._borrowing.tell(self, "finish")
