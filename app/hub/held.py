"""Broadcasts that are held back while the node fetches messages of a user that it has missed."""

from app.hub.publication import Publication
from app.hub.session import MAX_HELD, Session


class HeldBroadcasts:
    """Held broadcasts by session, in the order of arrival. `by_user` has the users with missed messages."""

    def __init__(self) -> None:
        self.by_user: dict[str, list[tuple[Session, Publication]]] = {}

    def begin(self, user: str) -> None:
        """Hold broadcasts to the user's sessions until `end`. A second call changes nothing."""
        self.by_user.setdefault(user, [])

    def hold(self, session: Session, publication: Publication) -> None:
        """Hold a broadcast. When there are too many, the oldest is sent out of its order."""
        held = self.by_user[session.user]
        held.append((session, publication))
        if len(held) > MAX_HELD:
            _send(*held.pop(0))

    def release(self, user: str, before: int) -> None:
        """Send the broadcasts that were published before the message with the seq `before`."""
        held = self.by_user.get(user)
        if held:
            due = [one for one in held if 0 < one[1].seq < before]
            self.by_user[user] = [one for one in held if not 0 < one[1].seq < before]
            for one in due:
                _send(*one)

    def end(self, user: str) -> None:
        """Send all held broadcasts of the user."""
        for one in self.by_user.pop(user, ()):
            _send(*one)

    def take(self, session: Session, until: int) -> list[Publication]:
        """Remove and return the session's broadcasts that were published up to the seq `until`."""
        held = self.by_user.get(session.user, [])
        taken = [one for one in held if one[0] is session and 0 < one[1].seq <= until]
        for one in taken:
            held.remove(one)
        return [publication for _, publication in taken]


def _send(session: Session, publication: Publication) -> None:
    if session.replay is not None:
        session.hold(publication)
    else:
        session.publish(publication)
