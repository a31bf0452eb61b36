"""How what is pushed on one node reaches the sessions of the others: the port. Its adapters live in `app.cluster`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from app.delivery.receiver import Receiver
from app.hub.publication import Notice, Publication, Published


class Relay(Protocol):
    """A user or a topic that is watched again and again is watched once."""

    @property
    def is_up(self) -> bool:
        """Whether all others can be reached."""

    def reaches(self, user: str) -> bool:
        """Whether the sessions of the user on other nodes can be; without that nothing is accepted for him."""

    def listen(self, receiver: Receiver) -> None:
        """`receiver` gets what other nodes send, from now on."""

    async def publish(self, publication: Publication) -> None:
        """To every other node, or to those that watch the topic it is for; at most once. Raises Unavailable."""

    def in_order(self, action: Callable[[], None]) -> None:
        """Call `action` after everything that arrived before has been handled: mostly at once."""

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        """Publish, and say which nodes may not have heard. Raises Unavailable also if no other node can hear.

        `once` is the digest of the content: a message whose id any node has published before is not published again.
        Raises IdConflict if that one had another digest.
        """

    def barrier(self) -> Awaitable[None] | None:
        """Return an awaitable that completes when everything received so far is handled, or None if it is."""

    def tell(self, notice: Notice) -> None:
        """To the other nodes that watch the user; at most once. Instant: it may be lost with the connection."""

    def watch_user(self, user: str) -> Awaitable[None] | None:
        """What is put into an inbox of the user comes here; once what is answered has been awaited, all of it does."""

    def renew_user(self, user: str) -> None:
        """Watch the user again: the server may have lost the subscription. What is asked after this comes after it."""

    def unwatch_user(self, user: str) -> None: ...

    def watch_topic(self, destination: str) -> Awaitable[None] | None:
        """As `watch_user`, for what is published for the destination."""

    def unwatch_topic(self, destination: str) -> None: ...
