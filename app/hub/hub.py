"""The sessions of this node, their subscriptions, and the fan-out to them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from app.hub.held import HeldBroadcasts
from app.hub.publication import Publication
from app.hub.session import Session, Subscriber
from app.stomp.events import Subscription

FAN_OUT_SLICE = 500  # frames that are written before the loop gets a turn: some milliseconds


class Hub:
    """The sessions of this node by id, user and destination. Only `fan_out` waits. For one event loop."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._users: dict[str, dict[str, Session]] = {}
        self._destinations: dict[str, dict[Subscriber, None]] = {}
        self.held = HeldBroadcasts()
        self.on_left: Callable[[str, str], None] = lambda user, destination: None
        """Called with the user of a session and a destination that it listens to no more."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def join(self, session: Session) -> None:
        session.live = True
        self._sessions[session.id] = session
        self._users.setdefault(session.user, {})[session.id] = session

    def leave(self, session: Session) -> bool:
        """Remove a session and its subscriptions. Return False if it is not here."""
        if self._sessions.get(session.id) is not session:
            return False
        del self._sessions[session.id]
        session.live = False
        sessions = self._users[session.user]
        del sessions[session.id]
        if not sessions:
            del self._users[session.user]
        left, session.subscribers = session.subscribers, {}
        for destination, subscribers in left.items():
            for subscriber in subscribers:
                self._drop(subscriber)
            self.on_left(session.user, destination)
        return True

    def session(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def sessions_of(self, user: str) -> Sequence[Session]:
        """Return the sessions of a user, oldest first."""
        sessions = self._users.get(user)
        return tuple(sessions.values()) if sessions else ()

    def users(self) -> Sequence[str]:
        return tuple(self._users)

    def subscribe(self, session: Session, subscription: Subscription, destination: str | None = None) -> None:
        """Add a subscription. `destination` is the canonical spelling of the subscription's destination."""
        destination = destination or subscription.destination
        subscriber = Subscriber(session, subscription, destination)
        session.subscribers[destination] = (*session.listens_to(destination), subscriber)
        self._destinations.setdefault(destination, {})[subscriber] = None

    def unsubscribe(self, session: Session, subscription: Subscription, destination: str | None = None) -> None:
        """Remove a subscription. Both arguments are those that `subscribe` was given."""
        destination = destination or subscription.destination
        left = []
        for subscriber in session.listens_to(destination):
            if subscriber.subscription is subscription:
                self._drop(subscriber)
            else:
                left.append(subscriber)
        if left:
            session.subscribers[destination] = tuple(left)
        else:
            session.subscribers.pop(destination, None)
            self.on_left(session.user, destination)

    def has_subscribers(self, destination: str) -> bool:
        return destination in self._destinations

    def is_listening(self, user: str, destination: str) -> bool:
        """Return whether any session of the user subscribes to the destination."""
        return any(session.listens_to(destination) for session in self.sessions_of(user))

    def _drop(self, subscriber: Subscriber) -> None:
        destination = subscriber.destination
        subscribers = self._destinations[destination]
        del subscribers[subscriber]
        if not subscribers:
            del self._destinations[destination]

    async def fan_out(self, publication: Publication, *, may_wait: bool = False) -> int:
        """Send to the present subscribers of the destination. Return the number of sessions.

        The event loop runs between slices; sessions that leave or unsubscribe meanwhile are skipped. `may_wait`: a
        session with a replay or missed messages gets the publication after those.
        """
        subscribers = self._destinations.get(publication.destination)
        if not subscribers:
            return 0
        reached, profile, frame, waiting = set(), None, b"", self.held.by_user
        for count, subscriber in enumerate(tuple(subscribers), start=1):
            session = subscriber.session
            if may_wait and (session.replay is not None or session.user in waiting):
                if session not in reached:
                    self._hold(session, publication)
                reached.add(session)
            elif subscriber in subscribers:
                if subscriber.profile is not profile:
                    profile = subscriber.profile
                    frame = publication.frame_for(profile)
                session.deliver(frame, publication.binary)
                reached.add(session)
            if count % FAN_OUT_SLICE == 0:
                await asyncio.sleep(0)
        return len(reached)

    def _hold(self, session: Session, publication: Publication) -> None:
        if session.user in self.held.by_user:
            self.held.hold(session, publication)
        else:
            session.hold(publication)
