"""The protocol between nodes about SockJS sessions, and its ports.

A session lives on its owner. A request of its client that reaches another node, the proxy, is forwarded:

| request | the proxy sends | the owner replies |
|---|---|---|
| receives frames | Attach, and Next for each further frame | Attached or NotFound once, then a Frame for each, or End |
| has received its last | Finish | End |
| was broken off | Release | nothing |
| sends messages | Forward | Taken, Full or NotFound |
| | Mark, after WINDOW_BYTES | MarkRead, when it has read what came before |
| | Ping, to see whether the owner is there | nothing |

`number` is chosen by the node that sends the first message of an exchange, and is unique for that node.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

Receive = Callable[[str, bytes], None]


class Attach(Struct, frozen=True, tag=True, array_like=True):
    """A receiving request. `once`: it takes one frame. A frame of messages has at most `max_bytes`."""

    number: int
    session: str
    once: bool
    max_bytes: int


class Next(Struct, frozen=True, tag=True, array_like=True):
    number: int
    max_bytes: int


class Finish(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Release(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Forward(Struct, frozen=True, tag=True, array_like=True):
    """A sending request. `body` is a JSON array of strings, in which halves of surrogate pairs survive."""

    number: int
    session: str
    body: bytes


class Mark(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Ping(Struct, frozen=True, tag=True, array_like=True):
    pass


class Attached(Struct, frozen=True, tag=True, array_like=True):
    number: int


class NotFound(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Frame(Struct, frozen=True, tag=True, array_like=True):
    number: int
    data: bytes


class End(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Taken(Struct, frozen=True, tag=True, array_like=True):
    number: int


class Full(Struct, frozen=True, tag=True, array_like=True):
    """The session holds as many messages as it may; the client can try again."""

    number: int


class MarkRead(Struct, frozen=True, tag=True, array_like=True):
    number: int


Request = Attach | Next | Finish | Release | Forward
Reply = Attached | NotFound | Frame | End | Taken | Full
Message = Request | Reply | Mark | MarkRead | Ping

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
encode = _encoder.encode


def decode(content: bytes) -> Message:
    """Raises ValueError for what no node of this version sends."""
    return _decoder.decode(content)


class Owners(Protocol):
    """The port for the leases that say which node owns which session. What waits raises Unavailable."""

    async def claim(self, session: str, *, instead_of: str = "") -> str:
        """Claim a session for this node. Return its owner: another node, unless that is `instead_of`."""

    async def find(self, session: str) -> str | None:
        """Return the owner of a session, None if it has none."""

    async def refresh(self, sessions: Iterable[str]) -> Iterable[str]:
        """Renew the leases of sessions of this node. Return those that have another owner by now."""

    def disown(self, session: str) -> None:
        """Give up a session. Returns at once and writes later."""

    async def flush(self) -> None:
        """Write what waits."""


class NodeChannel(Protocol):
    """The port that carries messages between nodes: in order, at most once."""

    node: str
    """The name of this node."""

    async def send(self, node: str, content: bytes) -> bool:
        """Send to a node. Return False if it does not listen, which means that it has ended. Raises Unavailable."""

    def listen(self, receive: Receive) -> None:
        """Hand the sender and content of each message to `receive`."""
