"""What was pushed, acknowledged and answered in one run, and what every session is promised of it."""

from dataclasses import dataclass, field

from app.messages.message import Envelope
from tests.clock import FakeClock
from tests.delivery.model_mailbox import SharedArchive
from tests.delivery.model_nodes import ModelNode, Phone, Promises
from tests.delivery.model_server import Server

USERS = ("ann", "bob")
PUBLISHERS = 3


@dataclass
class Pushed:
    """A message and the answers to its pushes; `ordered`: the first push was answered, and there was no other."""

    envelope: Envelope
    publisher: int
    given: bool
    user: str | None
    is_pending: bool = True
    is_accepted: bool = False
    ordered: bool = False
    pushes: int = 1
    node: ModelNode | None = None
    """That it was pushed to first."""

    @property
    def id(self) -> str:
        return self.envelope.message.id


@dataclass
class World:
    """What lasts for one run."""

    clock: FakeClock = field(default_factory=FakeClock)
    promises: Promises = field(default_factory=Promises)
    archive: SharedArchive = field(default_factory=SharedArchive)
    pushed: dict[str, Pushed] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)  # ids as their pushes were answered
    confirmed: dict[str, set[str]] = field(default_factory=lambda: {user: set() for user in USERS})
    acked: set[str] = field(default_factory=set)


# After everything has been healed


def check_complete(world: World, server: Server, phone: Phone) -> None:
    """All that was accepted after it subscribed, and what waits for an acknowledgement."""
    since = phone.session.since or 0
    for id, accepted in server.accepted.items():
        envelope = accepted.envelope
        if envelope.receiver == phone.user:
            kept = envelope.persisted or (envelope.acknowledged and accepted.kept)
            is_new = accepted.seq > since and not (envelope.acked_ms and id in phone.acked_before)
            due = is_new or (kept and id not in world.acked)
            world.promises.expect(
                not due or id in phone.received, f"{id} was missed by {phone.session.id} of {phone.node.name}"
            )


def came_with_rollback(server: Server, phone: Phone, id: str) -> bool:
    """Whether a disaster has undone the acknowledgement of what was older than the session."""
    accepted = server.accepted.get(id)
    was_older = accepted is not None and accepted.seq <= phone.head_before
    return was_older and phone.received.get(id, phone.disasters) != phone.disasters


def check_order(world: World, server: Server, phone: Phone) -> None:
    """First receptions, without what was pushed more than once, lost by the server, or overtook what was missed.

    A replay of a history that was rolled back may bring what is older than a broadcast, and what was acknowledged
    before the session subscribed.
    """
    pushed = world.pushed
    for publisher in range(PUBLISHERS):
        ids = [
            id
            for id in world.order
            if pushed[id].publisher == publisher
            and pushed[id].ordered
            and id not in phone.overtaking
            and not came_with_rollback(server, phone, id)
            and (id in server.accepted or (pushed[id].user is None and phone.disasters == server.disasters))
        ]
        expected = [id for id in ids if id in phone.received]
        got = [id for id in phone.received if id in ids]
        world.promises.expect(got == expected, f"{got} came instead of {expected}")


def check_total_order(world: World, server: Server, phone: Phone) -> None:
    """Of all publishers, without what the archive has after the log has dropped it.

    A node sends its own broadcasts when it goes on after the reply: later than what others push meanwhile.
    """
    places = {
        id: server.accepted[id].seq
        for id, pushed in world.pushed.items()
        if pushed.pushes == 1 and id in server.accepted and not pushed.envelope.persisted
    }
    places = {id: seq for id, seq in places.items() if not came_with_rollback(server, phone, id)}
    if phone.disasters == server.disasters:
        for id, seq in server.broadcasts.items():
            if world.pushed[id].node is not phone.node and id not in phone.overtaking:
                places[id] = seq
    got = [id for id in phone.received if id in places]
    world.promises.expect(got == sorted(got, key=places.__getitem__), f"{got} came out of order")
