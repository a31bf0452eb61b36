"""What the gateway's timer does: heart-beats both ways, and the time limit for CONNECT."""

import asyncio

import pytest

from app.gateway.gateway import tick_s
from app.gateway.routing import AppMessage, DestinationRoutes
from app.stomp.codec import HEARTBEAT
from app.stomp.heartbeat import Heartbeat
from tests.gateway.conversation import Peer, Stage, settle
from tests.gateway.test_connect import SlowAuthenticator


async def test_silent_connection_without_connect_is_closed() -> None:
    stage = Stage(connect_timeout_s=10)
    peer = stage.peer()

    stage.pass_time(10)
    assert not peer.over
    stage.pass_time(1)

    assert peer.close_code == 4011
    assert len(stage.gateway) == 0


async def test_trickle_of_bytes_does_not_stretch_the_time_for_connect() -> None:
    stage = Stage(connect_timeout_s=10)
    peer = stage.peer()

    for byte in b"CONNECT\naccep":
        peer.connection.receive(bytes([byte]))
        stage.pass_time(1)

    assert peer.close_code == 4011


async def test_authenticator_has_the_time_for_connect_and_no_more() -> None:
    authenticator = SlowAuthenticator()
    stage = Stage(authenticator=authenticator, connect_timeout_s=10)
    peer = stage.peer()
    peer.send("CONNECT", {"accept-version": "1.2", "passcode": "alice"})
    await settle()

    stage.pass_time(11)
    await settle()

    assert peer.close_code == 4011
    assert len(stage.gateway._tasks) == 0
    authenticator.gate.set()
    await settle()
    assert len(stage.hub) == 0


async def test_session_without_heartbeats_is_left_alone() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "0,0"})

    stage.pass_time(3600)

    assert not peer.over
    assert peer.transport.sent == []


async def test_heartbeat_is_sent_before_the_client_waits_longer_than_agreed() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "0,20000"})
    silent_s = longest_s = 0
    for _ in range(100):
        stage.pass_time(1)
        silent_s = 0 if peer.transport.sent else silent_s + 1
        longest_s = max(longest_s, silent_s)
        assert set(peer.transport.sent) <= {HEARTBEAT}
        peer.transport.sent.clear()

    assert 15 <= longest_s < 20  # not too late, and not all the time


@pytest.mark.parametrize("tick_s", [0.25, 0.251, 0.2533, 0.2999, 0.31])
async def test_no_heartbeat_is_late_whenever_the_timer_wakes(tick_s: float) -> None:
    stage = Stage()
    sent_s: dict[Peer, float] = {}
    for number in range(20):
        peer = await stage.connected(f"user{number}", **{"heart-beat": "0,10000"})
        sent_s[peer] = stage.clock.monotonic()
        stage.clock.advance(0.0317)

    for _ in range(400):
        stage.clock.advance(tick_s)
        stage.gateway.look_after(stage.gateway.due())
        now_s = stage.clock.monotonic()
        for peer, last_s in sent_s.items():
            assert now_s - last_s <= 10
            if peer.transport.sent:
                sent_s[peer] = now_s
                peer.transport.sent.clear()


async def test_session_without_anything_to_do_is_looked_at_once_in_an_interval() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "0,10000"})
    stage.pass_time(10)
    looks = 0

    for _ in range(400):
        stage.clock.advance(0.25)
        due = stage.gateway.due()
        looks += len(due)
        stage.gateway.look_after(due)

    assert 10 <= looks <= 11
    assert peer.transport.sent.count(HEARTBEAT) >= 10


async def test_ended_connections_are_not_looked_at() -> None:
    stage = Stage()
    peers = [await stage.connected(f"user{number}") for number in range(3)]

    stage.clock.advance(60)
    due = stage.gateway.due()
    peers[0].connection.closed()
    stage.gateway.look_after(due)
    peers[1].connection.closed()
    peers[2].connection.closed()
    stage.clock.advance(60)

    assert stage.gateway.due() == []


async def test_line_end_within_a_body_is_no_heartbeat() -> None:
    stage = Stage()
    peer = await stage.connected()
    await peer.subscribe("/topic/a")

    for part in (b"SEND\ndestination:/topic/a\n\none", b"\n", b"two\0"):
        peer.connection.receive(part)
        await settle()

    assert [frame.body for frame in peer.frames()] == [b"one\ntwo"]


async def test_frame_stands_for_a_heartbeat() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "0,10000"})
    await peer.subscribe("/user/queue/msg")

    for _ in range(20):
        stage.pass_time(5)
        await stage.push("alice")
        assert HEARTBEAT not in peer.transport.sent
        peer.frames()


async def test_client_silent_for_three_intervals_is_closed() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "10000,0"})

    stage.pass_time(30)
    assert not peer.over
    stage.pass_time(2)

    assert peer.close_code == 4012
    assert peer.frames() == []
    assert len(stage.hub) == len(stage.gateway) == 0


async def test_any_byte_of_the_client_counts() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "10000,0"})

    for data in (b"\n", b"\r\n", b"SEND\n", b"destination:/topic/a\n", b"\nhi"):
        stage.pass_time(29)
        assert not peer.over
        peer.connection.receive(data)
    stage.pass_time(29)

    assert not peer.over


async def test_slower_of_both_sides_decides() -> None:
    stage = Stage()
    peer = await stage.connected(**{"heart-beat": "60000,0"})

    stage.pass_time(170)
    assert not peer.over
    stage.pass_time(15)

    assert peer.close_code == 4012


async def test_client_is_not_blamed_for_silence_while_its_frame_is_worked_on() -> None:
    routes, gate = DestinationRoutes(), asyncio.Event()

    @routes.message("/app/slow")
    async def slow(_: AppMessage) -> None:
        await gate.wait()

    stage = Stage(routes=routes)
    peer = await stage.connected(**{"heart-beat": "10000,0"})
    await peer.talk("SEND", {"destination": "/app/slow"})

    stage.pass_time(120)
    assert not peer.over
    gate.set()
    await settle()
    stage.pass_time(29)
    assert not peer.over
    stage.pass_time(5)
    assert peer.close_code == 4012


async def test_timer_of_the_gateway_runs_by_itself() -> None:
    stage = Stage(connect_timeout_s=10)
    peer = stage.peer()
    stage.clock.advance(11)
    timer = asyncio.create_task(stage.gateway.run())
    try:
        for _ in range(100):
            if not peer.over:
                await asyncio.sleep(0.05)
    finally:
        timer.cancel()

    assert peer.close_code == 4011


# The end of the process


async def test_draining_tells_all_to_reconnect_and_waits_until_they_have_got_what_was_sent() -> None:
    stage = Stage()
    peer = await stage.connected()

    draining = asyncio.create_task(stage.gateway.drain())
    await settle()
    assert peer.close_code == 1012
    assert stage.gateway.draining
    assert not draining.done()

    peer.connection.closed()
    await asyncio.wait_for(draining, 30)


async def test_who_comes_while_the_process_ends_is_sent_elsewhere() -> None:
    stage = Stage()
    await stage.gateway.drain()

    assert stage.peer().close_code == 1012


@pytest.mark.parametrize(
    ("heartbeat", "seconds"),
    [
        (Heartbeat(10_000, 10_000), 0.25),
        (Heartbeat(600, 10_000), 0.06),
        (Heartbeat(0, 2_000), 0.2),
        (Heartbeat(1, 1), 0.05),
        (Heartbeat(0, 0), 0.25),
    ],
)
def test_the_timer_looks_often_enough_for_what_was_promised(heartbeat: Heartbeat, seconds: float) -> None:
    assert tick_s(heartbeat) == pytest.approx(seconds)
