"""What a RECEIPT says: of SUBSCRIBE that the mailbox was read, of an acknowledgement that the store has it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

import app.delivery.replay
from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.delivery.mailbox import MailboxLimits
from app.errors import Unavailable
from app.messages.message import Envelope
from tests.clock import FakeClock
from tests.eventually import eventually
from tests.gateway.conversation import Peer, Stage, settle


class DurableMailbox(MemoryMailbox):
    """Reads while `reading` is set, fails before that `failures` times, and has acknowledgements when `writing` is."""

    is_durable = True

    def __init__(self) -> None:
        super().__init__(MemoryStore(MailboxLimits(), FakeClock()))
        self.reading, self.writing = asyncio.Event(), asyncio.Event()
        self.reading.set()
        self.failures = 0
        self.asked: list[str] = []

    async def read(  # type: ignore[override]  # the port allows both
        self, user: str, now_ms: int, on_head: Callable[[int], None]
    ) -> Sequence[Envelope]:
        await self.reading.wait()
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        return super().read(user, now_ms, on_head)

    def confirmation(self, user: str, message_id: str) -> Awaitable[None] | None:  # type: ignore[override]
        self.asked.append(message_id)
        return None if self.writing.is_set() else self._written()

    async def _written(self) -> None:
        await self.writing.wait()


@pytest.fixture
async def mailbox() -> DurableMailbox:
    return DurableMailbox()


def receipts(peer: Peer) -> list[str]:
    return [frame.headers["receipt-id"] for frame in peer.frames() if frame.command == "RECEIPT"]


async def listening(stage: Stage, **headers: str) -> Peer:
    peer = await stage.connected()
    await peer.subscribe("/user/queue/msg", **headers)
    return peer


# SUBSCRIBE


async def test_a_subscription_is_confirmed_when_the_mailbox_was_read(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    waiting = await stage.push("alice")
    peer = await stage.connected()
    mailbox.reading.clear()
    assert await peer.talk("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg", "receipt": "r"}) == []
    late = await stage.push("alice")
    mailbox.reading.set()
    await settle()
    frames = peer.frames()
    assert [frame.headers.get("receipt-id") or frame.headers["message-id"] for frame in frames] == ["r", waiting, late]


async def test_a_subscription_is_confirmed_when_a_mailbox_that_is_away_comes_back(
    mailbox: DurableMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.delivery.replay, "READ_RETRY_S", 0.001)
    stage = Stage(mailbox=mailbox)
    peer = await stage.connected()
    mailbox.failures = 3
    peer.send("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg", "receipt": "r"})
    await eventually(lambda: peer.transport.sent)
    assert (receipts(peer), mailbox.failures, peer.over) == (["r"], 0, False)


async def test_frames_behind_a_subscription_without_a_receipt_do_not_wait(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await stage.connected()
    mailbox.reading.clear()
    peer.send("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg"})
    assert [frame.command for frame in await peer.talk("SEND", {"destination": "/topic/a", "receipt": "r"}, "x")] == [
        "RECEIPT"
    ]
    message_id = await stage.push("alice")
    mailbox.reading.set()
    await settle()
    assert [frame.headers["message-id"] for frame in peer.frames()] == [message_id]


async def test_a_second_subscription_is_confirmed_at_once(mailbox: DurableMailbox) -> None:
    peer = await listening(Stage(mailbox=mailbox))
    mailbox.reading.clear()
    await peer.subscribe("/user/queue/msg", id="1")


async def test_a_client_that_goes_while_its_mailbox_is_read_leaves_nothing_behind(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await stage.connected()
    mailbox.reading.clear()
    await peer.talk("SUBSCRIBE", {"id": "0", "destination": "/user/queue/msg", "receipt": "r"})
    peer.connection.closed()
    mailbox.reading.set()
    await settle()
    assert (len(stage.hub), len(stage.gateway), peer.frames()) == (0, 0, [])
    assert mailbox._store._watchers == {}


# Acknowledgements


async def test_an_acknowledgement_is_confirmed_when_the_store_has_it_and_frames_behind_it_do_not_wait(
    mailbox: DurableMailbox,
) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage)
    message_id = await stage.push("alice")
    await settle()
    peer.frames()
    assert await peer.talk("SEND", {"destination": "/app/ack", "receipt": "r1"}, message_id) == []
    (frame,) = await peer.talk("SEND", {"destination": "/topic/a", "receipt": "r2"}, "x")
    assert frame.headers["receipt-id"] == "r2"
    mailbox.writing.set()
    await settle()
    assert receipts(peer) == ["r1"]


async def test_of_several_acknowledgements_all_are_confirmed_together(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage)
    assert await peer.talk("SEND", {"destination": "/app/ack", "receipt": "r"}, '["a","b"]') == []
    assert mailbox.asked == ["a", "b"]
    mailbox.writing.set()
    await settle()
    assert receipts(peer) == ["r"]


async def test_what_wants_no_receipt_asks_for_no_confirmation(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage, ack="client")
    message_id = await stage.push("alice")
    await peer.talk("SEND", {"destination": "/app/ack"}, message_id)
    await peer.talk("ACK", {"id": message_id})
    assert (mailbox.asked, peer.over) == ([], False)


@pytest.mark.parametrize("mode", ["client", "client-individual"])
async def test_an_ack_frame_is_confirmed_when_the_store_has_it(mailbox: DurableMailbox, mode: str) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage, ack=mode)
    await stage.push("alice")
    await settle()
    (message,) = peer.frames()
    assert await peer.talk("ACK", {"id": message.headers["ack"], "receipt": "r"}) == []
    mailbox.writing.set()
    await settle()
    assert receipts(peer) == ["r"]
    assert set(mailbox.asked) == {message.headers["message-id"]}


async def test_a_transaction_is_confirmed_when_the_store_has_its_acknowledgements(mailbox: DurableMailbox) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage)
    for command, headers, body in (
        ("BEGIN", {}, ""),
        ("SEND", {"destination": "/app/ack"}, "m1"),
        ("SEND", {"destination": "/topic/a"}, "x"),
        ("COMMIT", {"receipt": "r"}, ""),
    ):
        assert await peer.talk(command, {"transaction": "t"} | headers, body) == []
    assert mailbox.asked == ["m1"]
    mailbox.writing.set()
    await settle()
    assert receipts(peer) == ["r"]


async def test_a_client_that_goes_before_its_acknowledgement_is_written_is_not_written_to(
    mailbox: DurableMailbox,
) -> None:
    stage = Stage(mailbox=mailbox)
    peer = await listening(stage)
    await peer.talk("SEND", {"destination": "/app/ack", "receipt": "r"}, "m1")
    peer.connection.closed()
    mailbox.writing.set()
    await settle()
    assert (peer.frames(), len(stage.gateway)) == ([], 0)


async def test_in_memory_what_is_not_persisted_is_confirmed_at_once() -> None:
    stage = Stage()
    peer = await listening(stage)
    message_id = await stage.push("alice")
    peer.frames()
    assert [frame.command for frame in await peer.talk("SEND", {"destination": "/app/ack", "receipt": "r"}, message_id)]
