"""A STOMP session as hub and delivery see it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.disconnects import SLOW_CONSUMER, DisconnectReason
from app.hub.publication import Publication, profile_of
from app.hub.transport import Transport
from app.stomp.events import Subscription
from app.stomp.frames import AckMode, Version

MAX_HELD = 1_000  # messages that arrive while a session is sent the older ones


class Subscriber:
    """A subscription of a session; `profile` decides how its MESSAGE frames look."""

    __slots__ = ("destination", "profile", "session", "subscription")

    def __init__(self, session: "Session", subscription: Subscription, destination: str) -> None:
        self.session = session
        self.subscription = subscription
        self.destination = destination
        asks_ack = subscription.ack_mode is not AckMode.AUTO
        self.profile = profile_of(session.version, subscription.id, asks_ack)


class Session:
    """A session that the hub fans out to. `live` from `Hub.join` to `Hub.leave`."""

    __slots__ = (
        "client_id",
        "connected_ms",
        "end",
        "has_sent",
        "id",
        "live",
        "replay",
        "since",
        "subscribed_ms",
        "subscribers",
        "transport",
        "unanswered",
        "unknown_acks",
        "user",
        "version",
    )

    def __init__(
        self,
        *,
        id: str,
        user: str,
        version: Version,
        transport: Transport,
        connected_ms: int,
        client_id: str | None = None,
        end: Callable[[DisconnectReason], None] | None = None,
    ) -> None:
        self.id = id
        self.client_id = client_id
        self.user = user
        self.version = version
        self.transport = transport
        self.end = end or transport.close
        """Ends the session, which leaves the hub at once."""
        self.connected_ms = self.subscribed_ms = connected_ms
        """`subscribed_ms`: when it began to listen to its user's messages, the last time that it did."""
        self.subscribers: dict[str, tuple[Subscriber, ...]] = {}
        self.live = False
        self.replay: Replaying | None = None
        self.since: int | None = None
        """Seq of the latest message when the mailbox was read: later ones come live. None: not read yet."""
        self.has_sent = False
        self.unanswered = 0
        self.unknown_acks = 0

    def listens_to(self, destination: str) -> Sequence[Subscriber]:
        return self.subscribers.get(destination, ())

    def send(self, data: bytes, binary: bool = False) -> None:
        self.has_sent = True
        self.transport.send(data, binary)

    def publish(self, publication: Publication) -> None:
        """Send a publication to each subscription of the session for its destination."""
        for subscriber in self.subscribers.get(publication.destination, ()):
            self.deliver(publication.frame_for(subscriber.profile), publication.binary)

    def hold(self, message: Any) -> None:
        """Hold an envelope or publication until the replay has sent the older ones. A full buffer ends the session."""
        assert self.replay is not None, "only a replay holds messages back"
        self.replay.held.append(message)
        if len(self.replay.held) > MAX_HELD:
            self.end(SLOW_CONSUMER)

    def deliver(self, data: bytes, binary: bool = False) -> None:
        """Send a MESSAGE. The client may acknowledge each once without using up its rate."""
        self.has_sent = True
        self.unanswered += 1
        self.transport.send(data, binary)


@dataclass(slots=True)
class Replaying:
    """The state of a replay to one session. New messages are held, so that none overtakes an older one.

    `waiting` are the envelopes that were read, `held` envelopes and publications in the order of their arrival;
    `withdrawn` are ids that are not to be sent any more; `head` is the seq of the latest message when it was read.
    """

    waiting: Sequence[Any] = ()
    held: list[Any] = field(default_factory=list)
    withdrawn: set[str] = field(default_factory=set)
    head: int = 0
