import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.hub.hub import FAN_OUT_SLICE, Hub
from app.hub.publication import Publication
from app.hub.session import Session
from app.stomp.events import Subscription
from app.stomp.frames import AckMode, Version
from tests.fakes import FakeTransport

TOPIC = "/topic/a"
NEWS = Publication(message_id="m1", destination=TOPIC, body=b"news")


class Reader(FakeTransport):
    """Calls `on_send` with each frame before it is sent."""

    def __init__(self, on_send: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.on_send = on_send

    def send(self, data: bytes, binary: bool = False) -> None:
        self.on_send()
        super().send(data, binary)


def new_session(id: str = "s1", user: str = "ann", transport: FakeTransport | None = None) -> Session:
    port: Any = transport or FakeTransport()
    return Session(id=id, user=user, version=Version.V12, transport=port, connected_ms=0)


def listener(hub: Hub, id: str = "s1", user: str = "ann", transport: Reader | None = None) -> Reader:
    transport = transport or Reader()
    session = new_session(id, user, transport)
    hub.join(session)
    hub.subscribe(session, Subscription("0", TOPIC))
    return transport


# Sessions


def test_a_session_is_live_and_found_from_joining_to_leaving() -> None:
    hub, session = Hub(), new_session()
    assert not session.live
    hub.join(session)
    assert (len(hub), list(hub), session.live) == (1, [session], True)
    assert hub.session("s1") is session
    assert hub.sessions_of("ann") == (session,)
    assert hub.users() == ("ann",)
    assert hub.leave(session)
    assert (len(hub), list(hub), session.live) == (0, [], False)
    assert hub.session("s1") is None
    assert hub.sessions_of("ann") == ()
    assert hub.users() == ()


def test_sessions_of_a_user_come_in_the_order_in_which_they_joined() -> None:
    hub, sessions = Hub(), [new_session(id) for id in ("b", "c", "a")]
    for session in sessions:
        hub.join(session)
    hub.join(new_session("d", "bob"))
    assert hub.sessions_of("ann") == tuple(sessions)
    hub.leave(sessions[0])
    assert hub.sessions_of("ann") == tuple(sessions[1:])
    assert set(hub.users()) == {"ann", "bob"}


def test_leaving_twice_is_told() -> None:
    hub, session = Hub(), new_session()
    hub.join(session)
    assert hub.leave(session)
    assert not hub.leave(session)


def test_a_stranger_with_the_id_of_a_session_cannot_make_it_leave() -> None:
    hub, session = Hub(), new_session()
    hub.join(session)
    assert not hub.leave(new_session(user="bob"))
    assert hub.session("s1") is session
    assert session.live


def test_the_hub_may_change_while_it_is_walked_through() -> None:
    hub = Hub()
    for id in ("a", "b", "c"):
        hub.join(new_session(id))
    for session in hub:
        hub.leave(session)
    assert len(hub) == 0


# Subscriptions


async def test_a_subscriber_gets_what_is_published_until_it_unsubscribes() -> None:
    hub, session = Hub(), new_session(transport=(transport := FakeTransport()))
    hub.join(session)
    subscription = Subscription("0", TOPIC)
    hub.subscribe(session, subscription)
    assert await hub.fan_out(NEWS) == 1
    hub.unsubscribe(session, subscription)
    assert await hub.fan_out(NEWS) == 0
    assert [frame.headers["message-id"] for frame in transport.frames()] == ["m1"]


async def test_nothing_is_left_of_destinations_that_nobody_listens_to() -> None:
    hub, session = Hub(), new_session()
    hub.join(session)
    first, second = Subscription("0", TOPIC), Subscription("1", "/topic/b")
    hub.subscribe(session, first)
    hub.subscribe(session, second)
    hub.unsubscribe(session, first)
    assert list(session.subscribers) == ["/topic/b"]
    hub.leave(session)
    assert session.subscribers == {}
    assert hub._destinations == {}


async def test_each_of_two_equal_subscriptions_gets_its_copy_and_ends_alone() -> None:
    hub, session = Hub(), new_session(transport=(transport := FakeTransport()))
    hub.join(session)
    first, second = Subscription("0", TOPIC), Subscription("0", TOPIC)
    hub.subscribe(session, first)
    hub.subscribe(session, second)
    assert [subscriber.subscription for subscriber in session.listens_to(TOPIC)] == [first, second]
    assert await hub.fan_out(NEWS) == 1, "one session"
    assert len(transport.frames()) == 2
    hub.unsubscribe(session, first)
    assert [subscriber.subscription is second for subscriber in session.listens_to(TOPIC)] == [True]
    assert await hub.fan_out(NEWS) == 1
    assert len(transport.frames()) == 1


def test_a_subscription_that_is_not_known_changes_nothing() -> None:
    hub, session = Hub(), new_session()
    hub.join(session)
    hub.subscribe(session, Subscription("0", TOPIC))
    hub.unsubscribe(session, Subscription("0", TOPIC))
    hub.unsubscribe(session, Subscription("0", "/topic/b"))
    assert len(session.listens_to(TOPIC)) == 1


async def test_destinations_do_not_mix() -> None:
    hub = Hub()
    listener(hub)
    assert await hub.fan_out(Publication(message_id="m", destination="/topic/a/b", body=b"")) == 0


async def test_what_is_sent_is_marked_for_heartbeats_and_for_the_acknowledgement_it_allows() -> None:
    hub, session = Hub(), new_session(transport=(transport := FakeTransport()))
    hub.join(session)
    hub.subscribe(session, Subscription("0", TOPIC, AckMode.CLIENT))
    assert (session.has_sent, session.unanswered) == (False, 0)
    await hub.fan_out(Publication(message_id="m", destination=TOPIC, body=b"\xff", binary=True))
    assert (session.has_sent, session.unanswered) == (True, 1)
    assert transport.binary == transport.sent
    assert transport.frames()[0].headers["ack"] == "m/0"


def test_what_is_no_message_allows_no_acknowledgement() -> None:
    session = new_session(transport=(transport := FakeTransport()))
    session.send(b"RECEIPT\n\n\0")
    assert (session.has_sent, session.unanswered) == (True, 0)
    session.send(b"\xff", True)
    assert transport.binary == [b"\xff"]


# Fan-out


@pytest.mark.parametrize("count", [1, FAN_OUT_SLICE, FAN_OUT_SLICE + 1])
async def test_all_listeners_get_one_copy(count: int) -> None:
    hub = Hub()
    transports = [listener(hub, f"s{n}", f"u{n}") for n in range(count)]
    assert await hub.fan_out(NEWS) == count
    assert {len(transport.sent) for transport in transports} == {1}
    assert len({transport.sent[0] for transport in transports}) == 1


async def test_the_loop_gets_a_turn_after_each_slice() -> None:
    hub, sent, turns = Hub(), 0, []

    def count() -> None:
        nonlocal sent
        sent += 1

    for n in range(2 * FAN_OUT_SLICE + 1):
        listener(hub, f"s{n}", transport=Reader(count))
    task = asyncio.create_task(hub.fan_out(NEWS))
    while not task.done():
        await asyncio.sleep(0)
        turns.append(sent)
    assert turns[:3] == [FAN_OUT_SLICE, 2 * FAN_OUT_SLICE, 2 * FAN_OUT_SLICE + 1]


async def test_a_session_that_leaves_between_two_slices_is_passed_over() -> None:
    hub = Hub()
    transports = [listener(hub, f"s{n}") for n in range(FAN_OUT_SLICE + 2)]
    task = asyncio.create_task(hub.fan_out(NEWS))
    await asyncio.sleep(0)
    gone = hub.session(f"s{FAN_OUT_SLICE}")
    assert gone is not None
    hub.leave(gone)
    assert await task == FAN_OUT_SLICE + 1
    assert [len(transport.sent) for transport in transports[-2:]] == [0, 1]


async def test_a_subscription_that_ends_between_two_slices_gets_nothing_more() -> None:
    hub = Hub()
    transports = [listener(hub, f"s{n}") for n in range(FAN_OUT_SLICE + 1)]
    task = asyncio.create_task(hub.fan_out(NEWS))
    await asyncio.sleep(0)
    session = hub.session(f"s{FAN_OUT_SLICE}")
    assert session is not None
    hub.unsubscribe(session, session.listens_to(TOPIC)[0].subscription)
    assert await task == FAN_OUT_SLICE
    assert transports[-1].sent == []


async def test_who_comes_while_a_message_goes_out_does_not_get_it() -> None:
    hub = Hub()
    for n in range(FAN_OUT_SLICE + 1):
        listener(hub, f"s{n}")
    task = asyncio.create_task(hub.fan_out(NEWS))
    await asyncio.sleep(0)
    late = listener(hub, "late")
    await task
    assert late.sent == []


async def test_a_destination_that_everybody_leaves_and_somebody_enters_meanwhile_is_a_new_one() -> None:
    hub = Hub()
    for n in range(FAN_OUT_SLICE + 1):
        listener(hub, f"s{n}")
    task = asyncio.create_task(hub.fan_out(NEWS))
    await asyncio.sleep(0)
    for session in hub:
        hub.leave(session)
    late = listener(hub, "late")
    assert await task == FAN_OUT_SLICE
    assert late.sent == []
    assert await hub.fan_out(NEWS) == 1


async def test_sending_may_end_the_session_itself_and_others() -> None:
    hub = Hub()

    def end_all() -> None:
        for session in hub:
            hub.leave(session)

    first = listener(hub, "s1", transport=Reader(end_all))
    second = listener(hub, "s2")
    assert await hub.fan_out(NEWS) == 1
    assert (len(first.sent), len(second.sent), len(hub)) == (1, 0, 0)
    assert hub._destinations == {}
