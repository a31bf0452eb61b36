"""Who of a user's sessions is sent what."""

import pytest

from app.delivery.listeners import Listeners
from app.delivery.log import DeliveryLog, Trace
from app.disconnects import RESTART
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.node import TTL_MS, Device, Node
from tests.delivery.test_replay_archive import FakeArchive


class Room:
    """Listeners of one node, without the streams before them."""

    def __init__(self) -> None:
        self.node = Node()
        self.log = DeliveryLog(100)
        self.archive = FakeArchive()
        self.listeners = Listeners(
            hub=self.node.hub,
            acks=self.node.acks,
            mailbox=self.node.mailbox,
            log=self.log,
            clock=self.node.clock,
            archive=self.archive,
        )

    def message(
        self, id: str = "m1", *, seq: int = 50, ack: bool = True, persisted: bool = False, was_sent: bool = False
    ) -> Envelope:
        now_ms = self.node.clock.epoch_ms()
        content = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data="x", viewed=False, created=now_ms)
        return Envelope(content, MessageEncoder(content), now_ms + TTL_MS, ack, persisted, was_sent, seq)

    def send(self, envelope: Envelope) -> int:
        return self.listeners.send(envelope, self.log.trace_of(envelope))

    async def listening(self, since: int = 10) -> Device:
        device = await self.node.listening()
        device.session.since = since
        return device


@pytest.fixture
def room() -> Room:
    return Room()


async def test_the_listening_sessions_of_a_user_come_oldest_first(room: Room) -> None:
    first, _, third = await room.listening(), room.node.device(), await room.listening()
    await room.node.listening("bob")
    assert room.listeners.of("ann") == [first.session, third.session]
    assert room.listeners.of("eve") == []


async def test_a_message_is_sent_to_the_listening_sessions_of_its_receiver_alone(room: Room) -> None:
    devices = [await room.listening(), await room.listening()]
    others = [room.node.device(), await room.node.listening("bob")]
    assert room.send(room.message()) == 2
    assert [device.attempts() for device in devices] == [[("m1", 1)]] * 2
    assert [device.got() for device in others] == [[], []]


async def test_a_session_whose_mailbox_was_read_after_the_message_is_passed_over(room: Room) -> None:
    early, exact, late = await room.listening(49), await room.listening(50), await room.listening(51)
    assert room.send(room.message(seq=50)) == 1
    assert [device.got() for device in (early, exact, late)] == [["m1"], [], []]


@pytest.mark.parametrize(("persisted", "got"), [(False, []), (True, ["m1"])])
async def test_a_transient_message_that_expired_on_its_way_is_passed_over(
    room: Room, persisted: bool, got: list[str]
) -> None:
    device = await room.listening()
    envelope = room.message(persisted=persisted)
    envelope.expires_ms = room.node.clock.epoch_ms()
    room.listeners.apply(envelope)
    assert device.got() == got


async def test_a_session_that_replays_holds_the_message(room: Room) -> None:
    live, replaying = await room.listening(), room.node.device()
    replaying.listen()
    envelope = room.message()
    assert room.send(envelope) == 2
    assert (live.got(), replaying.got()) == (["m1"], [])
    assert replaying.session.replay is not None
    assert replaying.session.replay.held == [envelope]


async def test_a_session_that_has_the_message_is_not_sent_it_again(room: Room) -> None:
    device = await room.listening()
    for id, ack in (("open", True), ("acknowledged", True), ("no-ack", False)):
        envelope = room.message(id, ack=ack)
        room.listeners.apply(envelope)
        if id == "acknowledged":
            device.ack(id)
            room.node.acks.acknowledge(device.session, id)
        assert room.send(envelope) == 1
    assert device.got() == ["open", "acknowledged", "no-ack"]


async def test_an_attempt_is_counted_once_however_many_sessions_there_are(room: Room) -> None:
    for _ in range(3):
        await room.listening()
    envelope = room.message()
    room.send(envelope)
    assert room.log.trace_of(envelope).attempts == 1


async def test_what_comes_from_elsewhere_is_remembered(room: Room) -> None:
    envelope = room.message(persisted=True)
    room.listeners.apply(envelope)
    trace = room.log.get("m1")
    assert isinstance(trace, Trace)
    assert (trace.receiver, trace.persisted, trace.attempts) == ("ann", True, 0)


async def test_a_loss_ends_the_sessions_whose_mailbox_was_read(room: Room) -> None:
    device, other = await room.listening(), await room.node.listening("bob")
    subscribing = room.node.device()
    subscribing.listen()
    room.listeners.lose("ann")
    assert device.transport.reason is RESTART
    assert (subscribing.transport.reason, other.transport.reason) == (None, None)


# Replays


async def test_what_waited_is_sent_once_and_expired_messages_are_not(room: Room) -> None:
    device = await room.listening()
    fresh, old, stored = room.message("fresh"), room.message("old"), room.message("stored", persisted=True)
    for one in (old, stored):
        one.expires_ms = room.node.clock.epoch_ms()
    for one in (fresh, old, stored, fresh):
        room.listeners.send_waiting(device.session, one)
    assert device.got() == ["fresh", "stored"], "what is persisted does not expire"


async def test_what_was_sent_to_another_session_before_comes_as_redelivered(room: Room) -> None:
    device = await room.listening()
    room.listeners.send_waiting(device.session, room.message("m1", was_sent=True))
    room.listeners.send_waiting(device.session, room.message("m2"))
    assert device.attempts() == [("m1", 2), ("m2", 1)]


async def test_the_archive_is_told_what_is_sent_for_the_first_time(room: Room) -> None:
    first, second = await room.listening(), await room.listening()
    for device in (first, second):
        room.listeners.send_waiting(device.session, room.message("new", persisted=True))
        room.listeners.send_waiting(device.session, room.message("old", persisted=True, was_sent=True))
        room.listeners.send_waiting(device.session, room.message("transient"))
    assert room.archive.sent == ["new"]


async def test_what_wants_no_acknowledgement_waits_for_the_first_session_only(room: Room) -> None:
    await room.node.push("m1", ack=False)
    device = room.node.device()
    device.listen()
    room.listeners.send_waiting(device.session, room.message(ack=False))
    assert device.got() == ["m1"]
    assert await room.node.pending() == []


async def test_what_was_acknowledged_before_it_was_put_goes_to_the_sessions_from_before() -> None:
    node = Node()
    early = await node.listening()
    node.clock.advance(1)
    acked_ms = node.clock.epoch_ms()
    late = await node.listening()
    message = NotifyMessage(id="m1", type="STRING_MSG", receiver="ann", data="x", viewed=False, created=acked_ms)
    envelope = Envelope(message, MessageEncoder(message), acked_ms + TTL_MS, persisted=True, seq=10**16)
    envelope.acked_ms = acked_ms
    node.delivery._listeners.apply(envelope)
    assert (early.got(), late.got()) == (["m1"], [])


async def test_a_session_that_subscribes_anew_is_not_sent_what_was_acknowledged_before(room: Room) -> None:
    device = await room.node.listening()
    device.unsubscribe()
    room.node.clock.advance(1)
    envelope = room.message()
    envelope.acked_ms = room.node.clock.epoch_ms()
    room.node.clock.advance(1)
    await device.subscribe()
    room.listeners.apply(envelope)
    assert device.got() == []
