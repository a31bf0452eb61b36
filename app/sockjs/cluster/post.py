"""What nodes say to each other about SockJS sessions: a line of JSON, then a body.

Of a request that receives: attach, next, finish, release; answered by attached, unknown, frame, end.
Of a request that sends: send; answered by taken, unknown, busy.
Of a node that sends much: mark; answered by read. Of one that wants to know who is there: look; not answered.
Each is told apart by the sender and a number of the sender's.
"""

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

Receive = Callable[[str, bytes], None]


class Owners(Protocol):
    """Which node has which session. All that waits raises Unavailable."""

    async def claim(self, session: str, *, instead_of: str = "") -> str:
        """The node that has it, which is this one if nobody else has. `instead_of` has it no more."""

    async def find(self, session: str) -> str | None: ...

    async def refresh(self, sessions: Iterable[str]) -> Iterable[str]:
        """Claims fade. Returns those that are another node's by now."""

    def disown(self, session: str) -> None:
        """Instant, written behind."""

    async def flush(self) -> None: ...


class Post(Protocol):
    """Brings something to a node: in order, once or never."""

    node: str

    async def send(self, node: str, content: bytes) -> bool:
        """False: there is no such node. Raises Unavailable."""

    def listen(self, receive: Receive) -> None:
        """`receive` gets the sender and the content."""


class Note(NamedTuple):
    """`max_bytes` and `once` are of attach and next, `session` of attach and send."""

    word: str
    number: int
    session: str = ""
    max_bytes: int = 0
    once: bool = False
    body: bytes = b""


def encode_note(note: Note) -> bytes:
    return json.dumps(note[:-1]).encode() + b"\n" + note.body


def decode_note(content: bytes) -> Note:
    line, _, body = content.partition(b"\n")
    word, number, session, max_bytes, once = json.loads(line)
    return Note(word, number, session, max_bytes, once, body)
