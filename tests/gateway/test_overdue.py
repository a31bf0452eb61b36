"""Who is at the limit gets the place of a session that has been silent for too long."""

import asyncio
from collections.abc import Sequence

import pytest

from app.disconnects import DisconnectReason
from app.gateway.routing import AppMessage, DestinationRoutes
from app.stomp.codec import HEARTBEAT
from tests.gateway.conversation import Peer, Stage, settle

SILENT = {"heart-beat": "0,0"}
BEATS = {"heart-beat": "10000,0"}
ANSWER_S = 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is in the hands of the test; nobody has to wait for it."""
    monkeypatch.setattr("app.gateway.overdue.RECHECK_DELAY_S", 0.05)


async def newcomer(stage: Stage, wait_s: float = 0.1) -> Peer:
    peer = stage.peer()
    await peer.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"} | BEATS)
    stage.clock.advance(ANSWER_S)
    await asyncio.sleep(wait_s)
    return peer


async def full(stage: Stage, count: int, **headers: str) -> Sequence[Peer]:
    return [await stage.connected(**headers) for _ in range(count)]


# With heart-beats


async def test_nobody_is_ended_who_was_heard_of_within_one_and_a_half_intervals() -> None:
    stage = Stage(max_sessions_per_user=2)
    peers = await full(stage, 2, **BEATS)
    stage.clock.advance(14)
    late = await newcomer(stage)
    assert ([peer.close_code for peer in peers], late.close_code) == ([None, None], 4504)


async def test_the_session_that_has_been_silent_for_longest_makes_room() -> None:
    stage = Stage(max_sessions_per_user=3)
    peers = await full(stage, 3, **BEATS)
    stage.clock.advance(5)
    peers[0].connection.receive(HEARTBEAT)
    stage.clock.advance(5)
    peers[2].connection.receive(HEARTBEAT)
    stage.clock.advance(11)
    late = await newcomer(stage)
    assert [peer.close_code for peer in peers] == [None, 4012, None]
    assert (late.over, len(stage.hub)) == (False, 3)
    stage.clock.advance(0)
    assert not (await newcomer(stage)).over, "the next takes the place of the next"
    assert [peer.close_code for peer in peers] == [4012, 4012, None]


async def test_as_many_newcomers_as_there_are_silent_sessions_get_in_at_once() -> None:
    stage = Stage(max_sessions_per_user=6)
    peers = await full(stage, 6, **BEATS)
    stage.clock.advance(16)
    late = [stage.peer() for _ in range(7)]
    for peer in late:
        peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"} | BEATS)
    await settle()
    assert [peer.close_code for peer in peers] == [4012] * 6
    assert [peer.close_code for peer in late] == [None] * 6 + [4504]


async def test_who_is_overdue_stays_as_long_as_there_is_room() -> None:
    stage = Stage(max_sessions_per_user=2)
    (peer,) = await full(stage, 1, **BEATS)
    stage.clock.advance(20)
    await newcomer(stage)
    assert not peer.over


async def test_other_users_are_not_asked() -> None:
    stage = Stage(max_sessions_per_user=1)
    other = await stage.connected("bob", **BEATS)
    await stage.connected(**BEATS)
    stage.clock.advance(16)
    await newcomer(stage)
    assert not other.over


# Without heart-beats


async def test_who_does_not_answer_makes_room() -> None:
    stage = Stage(max_sessions_per_user=2)
    dead, alive = await full(stage, 2, **SILENT)
    dead.transport.can_ask = alive.transport.can_ask = True
    late = stage.peer()
    assert await late.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"}) == []
    assert dead.transport.is_asked
    assert alive.transport.is_asked
    alive.transport.is_asked = False  # it has answered
    stage.clock.advance(ANSWER_S)
    await asyncio.sleep(0.1)
    assert (dead.close_code, alive.over, late.commands()) == (4012, False, ["CONNECTED"])


async def test_who_answers_stays() -> None:
    stage = Stage(max_sessions_per_user=1)
    (peer,) = await full(stage, 1, **SILENT)
    peer.transport.can_ask = True
    late = stage.peer()
    await late.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    peer.transport.is_asked = False
    stage.clock.advance(ANSWER_S)
    await asyncio.sleep(0.1)
    assert (peer.over, peer.transport.is_asked, late.close_code) == (False, False, 4504)


async def test_who_has_not_had_the_time_to_answer_stays() -> None:
    stage = Stage(max_sessions_per_user=1)
    (peer,) = await full(stage, 1, **SILENT)
    peer.transport.can_ask = True
    late = stage.peer()
    await late.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    stage.clock.advance(ANSWER_S / 2)
    await asyncio.sleep(0.1)
    assert (peer.over, late.close_code) == (False, 4504)


async def test_who_has_not_answered_long_ago_makes_room_at_once() -> None:
    stage = Stage(max_sessions_per_user=1)
    (peer,) = await full(stage, 1, **SILENT)
    peer.transport.can_ask = True
    assert (await newcomer_that_leaves(stage)) is None
    stage.clock.advance(60)
    late = stage.peer()
    (connected,) = await late.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    assert (peer.close_code, connected.command) == (4012, "CONNECTED")


async def newcomer_that_leaves(stage: Stage) -> DisconnectReason | None:
    peer = stage.peer()
    await peer.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    peer.connection.closed()
    await settle()
    return peer.transport.reason


async def test_who_cannot_be_asked_is_taken_for_alive_and_nobody_waits() -> None:
    stage = Stage(max_sessions_per_user=1)
    await full(stage, 1, **SILENT)
    stage.clock.advance(3600)
    late = stage.peer()
    (error,) = await late.talk("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    assert (error.command, late.close_code) == ("ERROR", 4504)


async def test_a_newcomer_who_goes_while_others_are_asked_leaves_nothing() -> None:
    stage = Stage(max_sessions_per_user=1)
    (peer,) = await full(stage, 1, **SILENT)
    peer.transport.can_ask = True
    await newcomer_that_leaves(stage)
    assert (len(stage.gateway), len(stage.gateway._tasks), len(stage.gateway._sessions)) == (1, 0, 1)


@pytest.mark.parametrize("headers", [BEATS, SILENT], ids=["with heart-beats", "without"])
async def test_nobody_is_ended_whose_frame_is_being_worked_on(headers: dict[str, str]) -> None:
    routes, gate = DestinationRoutes(), asyncio.Event()

    @routes.message("/app/slow")
    async def slow(_: AppMessage) -> None:
        await gate.wait()

    stage = Stage(routes=routes, max_sessions_per_user=1)
    (peer,) = await full(stage, 1, **headers)
    peer.transport.can_ask = True
    await peer.talk("SEND", {"destination": "/app/slow"})
    stage.clock.advance(60)
    late = await newcomer(stage)
    assert (peer.over, late.close_code) == (False, 4504)
    gate.set()
    await settle()
