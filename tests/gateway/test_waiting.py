"""CONNECT and SUBSCRIBE wait for servers elsewhere, and much can happen meanwhile."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Iterator

import pytest

from app.cluster.presence.memory import MemoryPresence
from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.disconnects import FORCED
from app.errors import ServiceError, SessionLimit, Unavailable
from tests.gateway.conversation import Peer, Stage, settle


class SlowRelay(MemoryRelay):
    """Confirms what it watches when `confirming` is done."""

    def __init__(self) -> None:
        super().__init__(MemoryBus())
        self.confirming: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def watch_user(self, user: str) -> Awaitable[None] | None:  # type: ignore[override]
        super().watch_user(user)
        return asyncio.shield(self.confirming)

    def watch_topic(self, destination: str) -> Awaitable[None] | None:  # type: ignore[override]
        super().watch_topic(destination)
        return asyncio.shield(self.confirming)

    @property
    def watched(self) -> set[str]:
        return self._users | self._topics


class SlowPresence(MemoryPresence):
    """Counts at once, and says so when `answering` is set."""

    def __init__(self, failure: ServiceError | None = None) -> None:
        super().__init__()
        self.answering = asyncio.Event()
        self.failure = failure

    async def join(self, user: str, session_id: str, limit: int, client_id: str | None = None) -> str | None:
        if self.failure is not None:
            raise self.failure
        replaced = await super().join(user, session_id, limit, client_id)
        await self.answering.wait()
        return replaced

    @property
    def count(self) -> int:
        return sum(len(sessions) for sessions in self._users.values())


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


# SUBSCRIBE


async def subscribing(stage: Stage, destination: str = "/user/queue/msg") -> Peer:
    peer = await stage.connected()
    frames = await peer.talk("SUBSCRIBE", {"id": "0", "destination": destination, "receipt": "r1"})
    assert frames == []
    return peer


@pytest.mark.usefixtures("no_garbage_collector")
async def test_client_that_hangs_up_while_its_frame_waits_leaves_no_reference_cycle() -> None:
    stage = Stage(relay=SlowRelay())
    peer = await subscribing(stage)
    transport = weakref.ref(peer.transport)
    peer.connection.closed()
    del peer
    await settle()
    assert transport() is None


async def test_a_subscription_is_confirmed_when_the_other_nodes_know_and_frames_behind_it_wait() -> None:
    stage = Stage(relay=(relay := SlowRelay()))
    peer = await subscribing(stage)
    await stage.push("alice", "before")
    peer.send("SEND", {"destination": "/app/nothing", "receipt": "r2"}, "x")
    peer.send("DISCONNECT", {"receipt": "r3"})
    await settle()
    assert peer.frames() == []
    relay.confirming.set_result(None)
    await settle()
    assert peer.commands()[0] == "RECEIPT"


async def test_what_is_pushed_meanwhile_comes_once_and_in_its_order() -> None:
    relay = SlowRelay()
    stage = Stage(relay=relay)
    sent = [await stage.push("alice", n) for n in range(2)]
    peer = await subscribing(stage)
    sent += [await stage.push("alice", n) for n in range(2)]
    relay.confirming.set_result(None)
    await settle()
    sent.append(await stage.push("alice"))
    messages = [frame.headers["message-id"] for frame in peer.frames() if frame.command == "MESSAGE"]
    assert messages == sent


@pytest.mark.parametrize("destination", ["/user/queue/msg", "/topic/a"])
@pytest.mark.parametrize("how", ["gone", "kicked"])
async def test_a_client_that_goes_meanwhile_leaves_nothing_behind(destination: str, how: str) -> None:
    relay = SlowRelay()
    stage = Stage(relay=relay)
    peer = await subscribing(stage, destination)
    session = peer.connection.session
    assert session is not None
    if how == "gone":
        peer.connection.closed()
    else:
        peer.connection.end(FORCED)
    await settle()
    assert (len(stage.hub), relay.watched, session.replay, len(stage.gateway)) == (0, set(), None, 0)
    assert not relay.confirming.cancelled(), "others may wait for it"
    relay.confirming.set_result(None)
    await settle()
    assert [frame for frame in peer.frames() if frame.command == "RECEIPT"] == []
    assert (len(stage.hub), relay.watched) == (0, set())


async def test_another_session_of_the_user_keeps_him_watched() -> None:
    relay = SlowRelay()
    stage = Stage(relay=relay)
    first, second = await subscribing(stage), await subscribing(stage)
    first.connection.closed()
    await settle()
    assert relay.watched == {"alice"}
    relay.confirming.set_result(None)
    await settle()
    message_id = await stage.push("alice")
    assert [frame.headers.get("message-id") for frame in second.frames()] == [None, message_id]


# CONNECT


@pytest.mark.parametrize("how", ["gone", "kicked"])
async def test_a_client_that_goes_while_it_is_counted_is_counted_out(how: str) -> None:
    presence = SlowPresence()
    stage = Stage(presence=presence)
    peer = stage.peer()
    assert await peer.talk("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer alice"}) == []
    assert presence.count == 1
    if how == "gone":
        peer.connection.closed()
    else:
        peer.connection.end(FORCED)
    await settle()
    assert (presence.count, len(stage.hub), len(stage.gateway)) == (0, 0, 0)
    presence.answering.set()
    await settle()
    assert (presence.count, len(stage.hub)) == (0, 0)


@pytest.mark.parametrize(
    ("failure", "code"), [(SessionLimit("alice has 10 sessions"), 4504), (Unavailable("away"), 1013)]
)
async def test_who_cannot_be_counted_is_told_whether_to_come_back(failure: ServiceError, code: int) -> None:
    presence = SlowPresence(failure)
    peer = Stage(presence=presence).peer()
    (error,) = await peer.talk("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer alice"})
    assert (error.command, error.headers["message"], peer.close_code) == ("ERROR", failure.title, code)


async def test_a_session_that_ends_is_counted_out() -> None:
    presence = SlowPresence()
    presence.answering.set()
    stage = Stage(presence=presence)
    peer = await stage.connected()
    assert presence.count == 1
    peer.connection.closed()
    assert presence.count == 0
