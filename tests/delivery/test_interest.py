from collections.abc import Awaitable

import pytest

from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.hub.session import Session
from app.messages.destinations import USER_ERRORS, USER_MESSAGES
from app.stomp.events import Subscription
from app.stomp.frames import Version
from tests.delivery.node import Node
from tests.fakes import FakeTransport

TOPIC = "/topic/a"


class Relay(MemoryRelay):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(MemoryBus())
        self.told: list[tuple[str, str]] = []

    def watch_user(self, user: str) -> None:
        self.told.append(("watch", user))

    def unwatch_user(self, user: str) -> None:
        self.told.append(("unwatch", user))

    def watch_topic(self, destination: str) -> None:
        self.told.append(("watch", destination))

    def unwatch_topic(self, destination: str) -> None:
        self.told.append(("unwatch", destination))


class House:
    def __init__(self) -> None:
        self.relay = Relay()
        self.delivery = (node := Node(relay=self.relay)).delivery
        self.hub = node.hub

    def session(self, id: str, user: str = "ann") -> Session:
        session = Session(id=id, user=user, version=Version.V12, transport=FakeTransport(), connected_ms=0)
        self.hub.join(session)
        return session

    def subscribe(self, session: Session, destination: str, id: str = "0") -> Subscription:
        subscription = Subscription(id, destination)
        self.hub.subscribe(session, subscription)
        awaitable: Awaitable[None] | None = self.delivery.watch(session, destination)
        assert awaitable is None
        return subscription

    @property
    def told(self) -> list[tuple[str, str]]:
        """Since the last look."""
        told, self.relay.told = self.relay.told, []
        return told


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize(("destination", "name"), [(USER_MESSAGES, "ann"), (TOPIC, TOPIC)])
def test_what_a_session_listens_to_is_watched_until_it_unsubscribes(house: House, destination: str, name: str) -> None:
    session = house.session("s1")
    subscription = house.subscribe(session, destination)
    assert house.told == [("watch", name)]
    house.hub.unsubscribe(session, subscription)
    assert house.told == [("unwatch", name)]


@pytest.mark.parametrize(("destination", "name"), [(USER_MESSAGES, "ann"), (TOPIC, TOPIC)])
def test_the_last_of_several_sessions_ends_it(house: House, destination: str, name: str) -> None:
    one, other = house.session("s1"), house.session("s2")
    house.subscribe(one, destination)
    house.subscribe(other, destination)
    assert house.told == [("watch", name)] * 2
    house.hub.leave(one)
    assert house.told == []
    house.hub.leave(other)
    assert house.told == [("unwatch", name)]


def test_the_last_of_several_subscriptions_of_a_session_ends_it(house: House) -> None:
    session = house.session("s1")
    first, second = house.subscribe(session, TOPIC, "0"), house.subscribe(session, TOPIC, "1")
    house.hub.unsubscribe(session, first)
    assert ("unwatch", TOPIC) not in house.told
    house.hub.unsubscribe(session, second)
    assert house.told == [("unwatch", TOPIC)]


def test_a_session_that_goes_ends_all_that_it_alone_listened_to(house: House) -> None:
    session, other = house.session("s1"), house.session("s2", "bob")
    for id, destination in enumerate((USER_MESSAGES, TOPIC, "/topic/b", USER_ERRORS)):
        house.subscribe(session, destination, str(id))
    house.subscribe(other, TOPIC)
    assert len(house.told) == 4
    house.hub.leave(session)
    assert sorted(house.told) == [("unwatch", "/topic/b"), ("unwatch", "ann")]


def test_sessions_of_other_users_do_not_keep_a_user_watched(house: House) -> None:
    ann, bob = house.session("s1", "ann"), house.session("s2", "bob")
    house.subscribe(ann, USER_MESSAGES)
    house.subscribe(bob, USER_MESSAGES)
    assert house.told == [("watch", "ann"), ("watch", "bob")]
    house.hub.leave(ann)
    assert house.told == [("unwatch", "ann")]


def test_errors_are_told_by_the_node_of_the_session_and_need_no_relay(house: House) -> None:
    session = house.session("s1")
    house.subscribe(session, USER_ERRORS)
    house.hub.leave(session)
    assert house.told == []
