"""The port that carries pushes to the sessions of other nodes. Its adapters are in `app.cluster.relay`."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from app.delivery.receiver import Receiver
from app.hub.publication import Notice, Publication, Published


class Relay(Protocol):
    """Carries publications between nodes. Watching a user or topic twice has no further effect."""

    @property
    def is_up(self) -> bool:
        """Whether all other nodes can be reached."""

    def reaches(self, user: str) -> bool:
        """Return whether the user's sessions on other nodes can be reached. If not, pushes to the user are refused."""

    def listen(self, receiver: Receiver) -> None:
        """Hand what other nodes send to `receiver` from now on."""

    async def publish(self, publication: Publication) -> None:
        """Send to every other node, or to those that watch the topic, at most once. Raises Unavailable."""

    def in_order(self, action: Callable[[], None]) -> None:
        """Call `action` when everything received so far has been handled, usually at once."""

    async def broadcast(self, publication: Publication, *, once: int | None = None) -> Published:
        """Publish, and say which nodes may not have heard. Raises Unavailable also if no other node can hear.

        `once` is the digest of the content: a message whose id any node has published before is not published again.
        Raises IdConflict if that one had another digest.
        """

    def barrier(self) -> Awaitable[None] | None:
        """Return an awaitable that completes when everything received so far is handled, or None if it is."""

    def tell(self, notice: Notice) -> None:
        """Send to the other nodes that watch the user, at most once. Returns at once; a lost connection may lose it."""

    def watch_user(self, user: str) -> Awaitable[None] | None:
        """Receive the user's messages. All of them arrive once the result has been awaited; None: they do already."""

    def renew_user(self, user: str) -> None:
        """Watch the user again, in case the server has lost the subscription. Later requests are handled after it."""

    def unwatch_user(self, user: str) -> None: ...

    def watch_topic(self, destination: str) -> Awaitable[None] | None:
        """Receive the publications for the destination, as `watch_user` describes."""

    def unwatch_topic(self, destination: str) -> None: ...
