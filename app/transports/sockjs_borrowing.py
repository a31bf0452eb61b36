"""Sessions of other nodes that requests at this node use."""

import asyncio
import itertools
import json
import logging
from collections import deque

from app.errors import Unavailable
from app.tasks import TaskOwner
from app.transports.sockjs_post import Note, Post, encode_note

ANSWER_S = 3.0  # for a node that is there to say whether it has a session
TAKE_S = 20.0  # for a session to take what was sent to it
SILENCE_S = 15.0  # beyond the heart-beat: then the owner is gone

logger = logging.getLogger(__name__)


class Gone(Exception):
    """There is no such node any more."""


class Borrowing:
    def __init__(self, post: Post, *, tasks: TaskOwner, heartbeat_s: float) -> None:
        self._post = post
        self._tasks = tasks
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._borrowed: dict[int, Borrowed] = {}
        self.silence_s = heartbeat_s + SILENCE_S

    def __len__(self) -> int:
        return len(self._borrowed)

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
                self.remove(borrowed, tell=True)
        return borrowed if is_known else None

    async def send(self, owner: str, session: str, messages: list[str]) -> str:
        """taken, busy, or unknown; the last also where the owner is gone. Raises Unavailable."""
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        note = Note("send", number, session, body=json.dumps(messages).encode())
        try:
            async with asyncio.timeout(TAKE_S):
                await self.post(owner, note)
                return await answer
        except Gone:
            return "unknown"
        except TimeoutError:
            raise Unavailable("the node that has the session does not answer", retry_after_s=1) from None
        finally:
            del self._asked[number]

    def receive(self, note: Note) -> None:
        """An answer."""
        borrowed, asked = self._borrowed.get(note.number), self._asked.get(note.number)
        if borrowed is not None:
            borrowed.receive(note)
        elif asked is not None and not asked.done():
            asked.set_result(note.word)

    def give_all_back(self) -> None:
        for borrowed in tuple(self._borrowed.values()):
            borrowed.end()

    # For what is borrowed

    async def post(self, owner: str, note: Note) -> None:
        """Raises Gone, and Unavailable."""
        if not await self._post.send(owner, encode_note(note)):
            raise Gone("it does not listen")

    def remove(self, borrowed: "Borrowed", *, tell: bool) -> bool:
        """False if it was not there any more. `tell`: the owner learns that the client has gone."""
        if self._borrowed.pop(borrowed.number, None) is None:
            return False
        if tell:
            self._tasks.start(self.tell(borrowed, "release"), f"release of a session of node {borrowed.owner}")
        return True

    async def tell(self, borrowed: "Borrowed", word: str) -> None:
        try:
            await self.post(borrowed.owner, Note(word, borrowed.number))
        except (Gone, Unavailable) as error:
            logger.info("node %s keeps a loan until it notices: %s", borrowed.owner, error)


class Borrowed:
    """A source of frames."""

    is_ready = False

    def __init__(self, borrowing: Borrowing, owner: str, number: int, *, once: bool) -> None:
        self.owner = owner
        self.number = number
        self._borrowing = borrowing
        self._once = once
        self._answers: deque[Note] = deque()
        self._wake = asyncio.Event()
        self._is_waiting = True  # for a frame that was asked for, as the first is by attaching
        self._is_over = False

    async def is_known(self) -> bool:
        await self._wake.wait()
        first = self._answers[0].word
        if first in ("attached", "unknown"):
            self._answers.popleft()
        return first != "unknown"

    def receive(self, note: Note) -> None:
        self._answers.append(note)
        if note.word == "end" or (note.word == "frame" and self._once):
            self._borrowing.remove(self, tell=False)
        self._wake.set()

    async def next(self, max_bytes: int) -> bytes | None:
        try:
            async with asyncio.timeout(self._borrowing.silence_s):
                return await self._next(max_bytes)
        except (Gone, Unavailable, TimeoutError) as error:
            logger.info("node %s has gone with a session: %s", self.owner, error)
            return None

    async def _next(self, max_bytes: int) -> bytes | None:
        if not self._is_waiting:
            self._is_waiting = True
            await self._borrowing.post(self.owner, Note("next", self.number, max_bytes=max_bytes))
        while not self._answers and not self._is_over:
            self._wake.clear()
            await self._wake.wait()
        if self._is_over:
            return None
        self._is_waiting = False
        answer = self._answers.popleft()
        return answer.body if answer.word == "frame" else None

    async def finish(self) -> None:
        if self._borrowing.remove(self, tell=False):
            await self._borrowing.tell(self, "finish")

    def finish_now(self) -> None:
        raise AssertionError("what is borrowed is not lent out again")

    def end(self) -> None:
        """`next` returns None."""
        self._is_over = True
        self._wake.set()

    def interrupt(self) -> None:
        self.end()
        self.release()

    def release(self) -> None:
        self._borrowing.remove(self, tell=True)
