"""What a session gets that comes while the database has messages for its user, or does not answer, or fails."""

import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest

import app.delivery.replay
import app.hub.session
from app.delivery import acknowledgements
from app.delivery.archive import NoArchive
from app.disconnects import SLOW_CONSUMER, DisconnectReason
from app.errors import Unavailable
from app.hub.publication import Publication
from app.messages.destinations import USER_ERRORS, USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.stomp.events import Subscription
from app.stomp.frames import AckMode
from tests.delivery.node import TTL_MS, Device, DeviceTransport, Node
from tests.delivery.test_replay import one_frame, slow_device, turns
from tests.eventually import eventually

LIMIT = 5


class FakeArchive:
    """Answers only while `answering`; raises `failure` then, if there is one."""

    def __init__(self) -> None:
        self.kept: list[Envelope] = []
        self.sent: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.failure: Exception | None = None
        self.looked = asyncio.Event()
        self.holds = True
        self.away: Exception | None = None
        self.timeout_s = self.thinks_s = 0.0

    async def holds_for(self, receiver: str, *, timeout_s: float) -> bool:
        self.timeout_s = timeout_s
        if self.thinks_s:
            await asyncio.sleep(self.thinks_s)
        if self.away is not None:
            raise self.away
        return self.holds

    async def pending(self, receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        self.looked.set()
        await asyncio.sleep(0)
        await self.answering.wait()
        if self.failure is not None:
            raise self.failure
        return self.kept[:limit], max(0, len(self.kept) - limit)

    def delivered(self, receiver: str, message_id: str) -> None:
        self.kept = [envelope for envelope in self.kept if envelope.message.id != message_id]

    def confirmation(self, receiver: str, message_id: str) -> None:
        """Nothing is written behind."""

    def replayed(self, message_id: str) -> None:
        self.sent.append(message_id)


class ArchiveNode(Node):
    def __init__(self) -> None:
        self.archive = FakeArchive()
        super().__init__(archive=self.archive, archive_limit=LIMIT)

    def keep(self, id: str) -> Envelope:
        now_ms = self.clock.epoch_ms()
        message = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data="hello", viewed=False, created=now_ms)
        envelope = Envelope(
            message=message, encoder=MessageEncoder(message), expires_ms=now_ms + TTL_MS, persisted=True
        )
        self.archive.kept.append(envelope)
        return envelope

    async def store(self, id: str) -> int:
        """As a persisted push; to how many sessions."""
        return (await self.delivery.push(self.keep(id))).sessions


@pytest.fixture
def node() -> ArchiveNode:
    return ArchiveNode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.delivery.replay, "ARCHIVE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(app.delivery.replay, "RETRY_S", 0.01)


def connected(device: Device) -> None:
    """A session whose end leaves the hub at once, as that of a connection does."""

    def end(reason: DisconnectReason) -> None:
        device.leave()
        device.transport.close(reason)

    device.session.end = end


def room_from_now_on(device: Device) -> None:
    device.transport.on_send = lambda: None
    device.transport.slow = False


# What comes


async def test_what_is_in_mailbox_and_archive_comes_in_one_order(node: ArchiveNode) -> None:
    for n in range(6):
        if n % 2:
            node.keep(f"m{n}")
        else:
            await node.push(f"m{n}")
        node.clock.advance(0.01)
    device = await node.listening()
    assert device.attempts() == [(f"m{n}", 1) for n in range(6)]
    device.ack("m0", "m1")
    assert (await node.listening()).attempts() == [(f"m{n}", 2) for n in range(2, 6)]


@pytest.mark.parametrize("more", [0, 3])
async def test_how_many_more_there_are_is_told_to_who_wants_to_know(node: ArchiveNode, more: int) -> None:
    for n in range(LIMIT + more):
        node.keep(f"m{n}")
    device = node.device()
    node.hub.subscribe(device.session, Subscription("errors", USER_ERRORS, AckMode.AUTO))
    await device.subscribe()
    frames = device.transport.frames()
    assert [frame.headers["message-id"] for frame in frames[:LIMIT]] == [f"m{n}" for n in range(LIMIT)]
    told = [(frame.headers["destination"], b'"more":3' in frame.body) for frame in frames[LIMIT:]]
    assert told == ([(USER_ERRORS, True)] if more else [])


async def test_archive_is_told_of_ids_that_this_node_does_not_know_up_to_a_limit(
    node: ArchiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledgements, "MAX_UNKNOWN_ACKS", 2)
    device = await node.listening()
    for n in range(3):
        node.keep(f"m{n}")
    device.ack("made_up", "m0", "m1")
    assert [envelope.message.id for envelope in node.archive.kept] == ["m1", "m2"]


# What comes meanwhile


async def test_what_comes_during_a_replay_is_sent_after_the_older_ones_and_once(node: ArchiveNode) -> None:
    node.keep("m1")
    node.clock.advance(0.01)
    await node.push("m2")
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    assert await node.store("m3") == 1
    assert (await node.push("m4")).sessions == 1
    for _ in range(2):  # the last one begins with what came meanwhile
        await one_frame(device)
    await node.store("m5")
    assert device.got() == ["m1", "m2", "m3"]
    room_from_now_on(device)
    await replay
    await node.store("m6")
    assert device.attempts() == [("m4", 1), ("m5", 1), ("m6", 1)]
    assert device.open == [f"m{n}" for n in range(1, 7)]


async def test_what_the_replay_found_and_what_came_meanwhile_are_the_same_message_once(node: ArchiveNode) -> None:
    device = node.device()
    device.listen()
    await node.push("m1")
    await node.store("m2")
    await device.replay()
    assert device.attempts() == [("m1", 1), ("m2", 1)]


async def test_too_many_that_come_meanwhile_end_the_session_and_none_is_lost(
    node: ArchiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.hub.session, "MAX_HELD", 3)
    await node.push("m0")
    device = await slow_device(node)
    connected(device)
    replay = asyncio.create_task(device.subscribe())
    await turns()
    for n in range(1, 4):
        await node.push(f"m{n}")
        assert device.transport.reason is None
    await node.store("m4")
    assert device.transport.reason is SLOW_CONSUMER
    await node.store("m5")
    device.transport.slow = False
    await replay
    assert (device.got(), node.acks.open_records) == ([], 0)
    assert (await node.listening()).attempts() == [(f"m{n}", 2 if n < 4 else 1) for n in range(6)]


async def test_what_is_withdrawn_during_a_replay_is_not_sent(node: ArchiveNode) -> None:
    for id in ("m1", "m2", "m3"):
        node.keep(id)
    node.clock.advance(0.01)
    await node.push("m4")
    device = await slow_device(node)
    replay = asyncio.create_task(device.subscribe())
    await one_frame(device)
    for id in ("m5", "m6"):
        await node.store(id)
    node.delivery.withdraw("ann", ["m1", "m2", "m4", "m5", "unknown"])
    assert device.open == [], "m1 is not sent again"
    room_from_now_on(device)
    await replay
    assert device.got() == ["m1", "m3", "m6"]
    assert device.open == ["m3", "m6"]
    assert await node.pending() == ["m6"]


async def test_what_is_withdrawn_is_no_longer_sent_again(node: ArchiveNode) -> None:
    device = await node.listening()
    await node.store("m1")
    await node.store("m2")
    node.delivery.withdraw("ann", ["m1"])
    await node.pass_time(6)
    assert device.attempts() == [("m1", 1), ("m2", 1), ("m2", 2)]


async def test_what_devices_are_told_waits_for_no_replay_and_for_no_acknowledgement(node: ArchiveNode) -> None:
    await node.push("m1")
    device = node.device()
    device.listen()
    other = await node.listening("bob")
    message = NotifyMessage(
        id="told", type="NOTIFY_VIEWED", receiver="ann", data={"ids": ["m1"]}, viewed=False, created=1
    )
    node.delivery.tell(message)
    assert (device.got(), device.open) == (["told"], [])
    await device.replay()
    assert (device.got(), other.got()) == (["m1"], [])


# Subscribing again


async def test_a_replay_that_is_begun_again_in_the_same_tick_loses_nothing(node: ArchiveNode) -> None:
    """As a page does whose component is mounted, unmounted and mounted: all three frames come in one packet."""
    for id in ("m1", "m2"):
        await node.push(id)
    device = await slow_device(node)
    assert device.listen()
    first = asyncio.create_task(device.replay())
    device.unsubscribe()
    assert device.listen()
    second = asyncio.create_task(device.replay())
    await turns()
    for n in (3, 4, 5):
        await node.push(f"m{n}")
    for _ in range(4):
        await one_frame(device)
    await node.push("m6")
    room_from_now_on(device)
    await asyncio.gather(first, second)
    assert device.attempts() == [(f"m{n}", 1) for n in range(1, 7)]


@pytest.mark.usefixtures("impatient")
async def test_subscribing_again_and_again_leaves_one_replay_that_tries(
    node: ArchiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.delivery.replay, "RETRY_S", 0.05)
    node.archive.failure = Unavailable("away")
    node.keep("m1")
    device = node.device()
    for _ in range(3):
        assert device.listen()
        await device.replay()
        await asyncio.sleep(0.015)  # so that each would try at another time
        device.unsubscribe()
    assert device.listen()
    await device.replay()
    assert len(node.tasks) > 1
    await eventually(lambda: len(node.tasks) == 1)
    await asyncio.sleep(0.15)
    assert len(node.tasks) == 1
    node.archive.failure = None
    await eventually(lambda: len(node.tasks) == 0)
    assert device.got() == ["m1"]


@pytest.mark.usefixtures("impatient")
async def test_a_retry_leaves_a_replay_alone_that_was_begun_and_waits_for_its_turn(node: ArchiveNode) -> None:
    node.archive.failure = Unavailable("away")
    device = node.device()
    device.listen()
    await device.replay()
    assert len(node.tasks) == 1
    device.unsubscribe()
    device.listen()
    await eventually(lambda: len(node.tasks) == 0)
    assert device.session.replay is not None
    node.archive.failure = None
    node.keep("m1")
    await device.replay()
    assert device.got() == ["m1"]


@pytest.mark.usefixtures("impatient")
async def test_an_archive_that_is_away_leaves_nothing_to_the_collector(node: ArchiveNode) -> None:
    failure = Unavailable("away")
    left = weakref.ref(failure)
    node.archive.failure = failure
    gc.disable()
    try:
        device = node.device()
        device.listen()
        replaying = asyncio.create_task(device.replay())
        await node.archive.looked.wait()
        await turns()
        node.archive.failure = None
        del failure
        await asyncio.wait_for(replaying, 30)
        assert left() is None
    finally:
        gc.enable()


# Whether anything waits


async def test_an_archive_that_holds_nothing_is_not_read(node: ArchiveNode) -> None:
    node.archive.holds = False
    node.keep("not-said")
    await node.push("m1")
    device = node.device()
    device.listen()
    await device.replay()
    assert not node.archive.looked.is_set()
    assert (device.got(), node.archive.timeout_s) == (["m1"], app.delivery.replay.ARCHIVE_TIMEOUT_S)


@pytest.mark.usefixtures("impatient")
async def test_an_archive_that_cannot_say_whether_it_holds_anything_is_asked_again(node: ArchiveNode) -> None:
    node.archive.away = Unavailable("away")
    node.keep("kept")
    await node.push("waiting")
    device = node.device()
    device.listen()
    await device.replay()
    await node.push("new")
    assert device.got() == ["waiting", "new"]
    node.archive.away = None
    await eventually(lambda: len(node.tasks) == 0)
    assert device.got() == ["kept"]


async def test_where_nothing_is_persisted_nothing_is_pending() -> None:
    assert not await NoArchive().holds_for("ann", timeout_s=1)
    assert await NoArchive().pending("ann", limit=1) == ((), 0)
    NoArchive().replayed("m1")
    NoArchive().delivered("ann", "m1")
    NoArchive().confirmation("ann", "m1")


# An archive that hangs


@pytest.mark.usefixtures("impatient")
async def test_an_archive_that_hangs_keeps_nothing_else_waiting_and_is_tried_again(node: ArchiveNode) -> None:
    node.keep("kept")
    await node.push("waiting")
    node.archive.answering.clear()
    device = node.device()
    device.listen()
    replay = asyncio.create_task(device.replay())
    await turns()
    await node.push("held")
    assert device.got() == []
    sent = asyncio.Event()
    device.transport.on_send = sent.set
    await asyncio.wait_for(sent.wait(), 30)
    await node.push("new")
    assert device.attempts() == [("waiting", 1), ("held", 1), ("new", 1)]
    for _ in range(2):
        node.archive.looked.clear()
        await asyncio.wait_for(node.archive.looked.wait(), 30)
    await replay
    node.archive.answering.set()
    await eventually(lambda: len(node.tasks) == 0)
    assert device.attempts() == [("kept", 1)]
    assert node.archive.sent == ["kept"]
    assert device.session.replay is None


@pytest.mark.usefixtures("impatient")
async def test_an_archive_that_fails_when_nobody_waits_any_more_is_no_defect(
    node: ArchiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pending(receiver: str, *, limit: int) -> tuple[Sequence[Envelope], int]:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
            raise Unavailable("the connection broke")

    left, complaints = asyncio.Event(), list[object]()
    monkeypatch.setattr(node.archive, "pending", pending)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    device = node.device()
    device.listen()
    replay = asyncio.create_task(device.replay())
    await asyncio.wait_for(left.wait(), 30)
    await turns()
    gc.collect()
    device.leave()
    replay.cancel()

    assert complaints == []


@pytest.mark.parametrize("thinks_s", [0.0, 0.9])
async def test_an_archive_that_hangs_holds_the_mailbox_back_for_about_a_second(
    thinks_s: float, node: ArchiveNode
) -> None:
    node.archive.thinks_s = thinks_s
    await node.push("m1")
    node.archive.answering.clear()
    device = node.device()
    replay = asyncio.create_task(device.subscribe())
    sent = asyncio.Event()
    device.transport.on_send = sent.set
    async with asyncio.timeout(1.85):
        await sent.wait()
    device.leave()
    await asyncio.wait_for(replay, 30)


# A replay that fails


async def failing(node: ArchiveNode) -> Device:
    """A session whose replay fails as soon as it has room."""

    async def fail() -> None:
        await room.wait()
        raise ValueError("a defect")

    await node.push("old")
    device = node.device()
    connected(device)
    room = device.transport.room
    room.clear()
    device.transport.writable = fail  # type: ignore[method-assign]
    device.listen()
    reading = node.delivery.replay(device.session)
    assert reading is None
    await turns()
    return device


async def test_a_replay_that_fails_keeps_no_new_message_back(
    node: ArchiveNode, caplog: pytest.LogCaptureFixture
) -> None:
    device = await failing(node)
    for n in (1, 2, 3):
        await node.push(f"m{n}")
    await node.delivery.publish(Publication(message_id="news", destination=USER_MESSAGES, body=b"{}"))
    node.delivery.withdraw("ann", ["m2"])
    device.transport.slow = False
    await eventually(lambda: len(node.tasks) == 0)
    assert "a defect" in caplog.text
    await node.push("m4")
    ids = [frame.headers["message-id"] for frame in device.transport.frames(device.session.version)]
    assert ids == ["m1", "m3", "news", "m4"]
    device.transport.writable = DeviceTransport().writable  # type: ignore[method-assign]
    device.unsubscribe()
    await device.subscribe()
    assert "old" in device.got(), "the next one is a new chance"


async def test_a_session_that_ends_with_what_came_before_its_replay_failed_gets_nothing_more(node: ArchiveNode) -> None:
    device = await failing(node)
    for n in (1, 2):
        await node.push(f"m{n}")
    device.transport.on_send = device.leave
    device.transport.slow = False
    await eventually(lambda: len(node.tasks) == 0)
    assert (device.got(), node.acks.open_records) == (["m1"], 0)
    assert await node.pending() == ["old", "m1", "m2"]


async def test_a_push_that_a_replay_was_faster_than_goes_on_with_its_account(node: ArchiveNode) -> None:
    envelope = node.keep("m1")
    early = await node.listening()
    assert early.got() == ["m1"]

    outcome = await node.delivery.push(envelope)
    early.ack("m1")

    assert outcome.sessions == 1
    assert early.got() == []
    assert (node.trace("m1").attempts, node.status("m1")) == (1, "delivered")
