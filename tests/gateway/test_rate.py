"""How fast a client may send, and what becomes of one that is faster."""

import asyncio

import pytest

from app.disconnects import GONE
from app.gateway.rate import Strain
from app.gateway.routing import AppMessage, DestinationRoutes
from tests.gateway.conversation import Peer, Stage, settle


class Heard(DestinationRoutes):
    """An application that notes what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.gate = asyncio.Event()
        self.message("/app/note")(self.note)
        self.message("/app/slow")(self.slow)

    def note(self, message: AppMessage) -> None:
        self.texts.append(message.text())

    async def slow(self, message: AppMessage) -> None:
        await self.gate.wait()
        self.texts.append(message.text())


@pytest.fixture
def heard() -> Heard:
    return Heard()


def note(number: int, destination: str = "/app/note") -> bytes:
    return f"SEND\ndestination:{destination}\n\n{number}\0".encode()


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def flood(peer: Peer, count: int) -> None:
    """Sends as a client does that flushes a queue; like a transport, brings nothing while reading is paused."""
    for number in range(count):
        if not peer.transport.reading:
            peer.connection.receive(b"".join(note(later) for later in range(number, count)))
            break
        peer.connection.receive(note(number))
    await settle()


async def test_a_client_that_flushes_its_queue_loses_nothing(heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected()

    await flood(peer, 300)

    assert len(heard.texts) == 199  # the burst of 200, of which CONNECT was one
    assert not peer.transport.reading
    stage.pass_time(0.5)
    assert 199 < len(heard.texts) < 300
    assert not peer.transport.reading
    stage.pass_time(0.75)
    assert heard.texts == numbers(300)
    assert peer.transport.reading
    assert not peer.over
    assert stage.gateway.held() == ()


async def test_frames_are_let_through_at_the_rate(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=16, inbound_burst=1)
    peer = await stage.connected()
    await flood(peer, 10)
    assert heard.texts == []

    for done in range(1, 11):
        stage.clock.advance(1 / 16)
        stage.gateway.let_through(stage.gateway.held())
        assert heard.texts == numbers(done)


@pytest.mark.parametrize("is_one_piece", [True, False])
async def test_frames_in_one_piece_are_counted_one_by_one(is_one_piece: bool, heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=1, inbound_burst=11)
    peer = await stage.connected()

    frames = [note(number) for number in range(100)]
    for data in [b"".join(frames)] if is_one_piece else frames:
        peer.connection.receive(data)
    await settle()

    assert heard.texts == numbers(10)
    assert not peer.transport.reading


async def test_no_frame_passes_the_one_that_waits(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=4, inbound_burst=2)
    peer = await stage.connected()

    peer.connection.receive(note(0) + note(1))  # and nothing is left in the buffer behind the one that waits
    stage.clock.advance(1)
    peer.connection.receive(note(2))
    stage.pass_time(1)

    assert heard.texts == numbers(3)


async def test_a_client_that_keeps_it_up_is_cut_off(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_patience_s=30)
    peer = await stage.connected()
    await flood(peer, 10_000)

    stage.pass_time(30)
    assert not peer.over
    stage.pass_time(0.5)

    (error,) = peer.frames()
    assert (error.command, error.headers["message"]) == ("ERROR", "rate limit")
    assert error.body == b"for 30 s the client has been sending more than 100 frames a second"
    assert peer.close_code == 4013
    assert heard.texts == numbers(len(heard.texts))
    assert len(stage.hub) == len(stage.gateway.held()) == 0


async def test_a_client_that_pauses_between_its_floods_is_not_cut_off(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_patience_s=2)
    peer = await stage.connected(**{"heart-beat": "0,0"})
    for _ in range(10):
        await flood(peer, 350)
        stage.pass_time(4)
    assert len(heard.texts) == 3_500
    assert not peer.over


async def test_a_client_that_is_a_little_too_fast_all_the_time_is_cut_off(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=40, inbound_burst=10, inbound_patience_s=5)
    peer = await stage.connected(**{"heart-beat": "0,0"})
    for _ in range(80):
        for number in range(12):
            peer.connection.receive(note(number))
        stage.pass_time(0.25)
    assert peer.close_code == 4013


async def test_a_client_that_stays_within_the_rate_is_never_cut_off(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=40, inbound_burst=10, inbound_patience_s=1)
    peer = await stage.connected(**{"heart-beat": "0,0"})
    for _ in range(200):
        for number in range(10):
            peer.connection.receive(note(number))
        stage.pass_time(0.25)
    assert len(heard.texts) == 2_000
    assert not peer.over


async def test_a_paused_client_is_not_silent(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=1, inbound_burst=1, inbound_patience_s=60)
    peer = await stage.connected(**{"heart-beat": "1000,1000"})
    await flood(peer, 55)

    stage.pass_time(54)  # five times as long as a client may be silent

    assert not peer.over
    assert not stage.gateway.end_overdue("alice", False).ended
    assert len(heard.texts) == 54
    stage.pass_time(40)
    assert peer.close_code == 4012


async def test_a_paused_client_is_not_asked_for_a_sign_of_life(heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected(**{"heart-beat": "0,0"})
    peer.transport.can_ask = True
    await flood(peer, 300)

    assert not stage.gateway.end_overdue("alice", False).asked
    assert not peer.transport.is_asked


async def test_what_a_client_has_sent_is_done_though_it_hangs_up(heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected()
    await flood(peer, 300)

    peer.connection.closed()
    assert len(stage.hub) == 0
    assert len(stage.gateway) == 1
    stage.pass_time(1.25)

    assert heard.texts == numbers(300)
    assert len(stage.gateway) == len(stage.gateway._tasks) == len(stage.gateway._transports) == 0
    assert set(stage.disconnects) == {GONE}


async def test_a_disconnect_behind_a_flood_is_confirmed_last(heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected()
    await flood(peer, 300)
    peer.send("DISCONNECT", {"receipt": "bye"})
    assert peer.frames() == []

    stage.pass_time(1.25)

    assert peer.frame().headers["receipt-id"] == "bye"
    assert peer.close_code == 1000
    assert len(heard.texts) == 300


async def test_a_frame_that_takes_long_holds_back_those_behind_it(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=4, inbound_burst=1)
    peer = await stage.connected()
    peer.connection.receive(note(0, "/app/slow") + note(1))
    stage.pass_time(0.25)
    await settle()
    assert heard.texts == []
    assert stage.gateway.held() == ()
    assert not peer.transport.reading

    stage.pass_time(1)
    heard.gate.set()
    await settle()

    assert heard.texts == ["0", "1"]
    assert peer.transport.reading


@pytest.mark.parametrize("way", ["kick", "drain", "replaced"])
async def test_what_ends_a_session_ends_it_while_it_is_held(way: str, heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected(**{"client-id": "tab"})
    await flood(peer, 300)

    if way == "kick":
        stage.gateway.kick(next(iter(stage.hub)).id)
    elif way == "drain":
        await stage.gateway.aclose()
    else:
        await stage.connected(**{"client-id": "tab"})
    stage.pass_time(1.25)

    assert len(heard.texts) == 199
    assert stage.gateway.held() == ()
    assert peer.close_code == {"kick": 4503, "drain": 1012, "replaced": 4505}[way]


async def test_a_session_that_another_held_one_ends_is_not_let_through(heard: Heard) -> None:
    stage = Stage(routes=heard)
    peer = await stage.connected()
    await flood(peer, 300)
    held = stage.gateway.held()
    stage.gateway.kick(next(iter(stage.hub)).id)

    stage.gateway.let_through(held)

    assert len(heard.texts) == 199


async def test_allowance_comes_back_with_time_and_no_further_than_the_burst(heard: Heard) -> None:
    stage = Stage(routes=heard, inbound_rate=10, inbound_burst=20)
    peer = await stage.connected(**{"heart-beat": "0,0"})
    for number in range(38):
        peer.connection.receive(note(number))
        stage.clock.advance(0.1)
    assert len(heard.texts) == 38

    stage.clock.advance(3600)
    for number in range(21):
        peer.connection.receive(note(number))
    assert len(heard.texts) == 38 + 20
    assert len(stage.gateway.held()) == 1


@pytest.mark.parametrize("way", ["/app/ack", "ACK", "NACK"])
async def test_acknowledging_what_was_delivered_is_free_of_charge(way: str) -> None:
    stage = Stage(inbound_rate=1, inbound_burst=5)
    peer = await stage.connected()
    await peer.subscribe("/user/queue/msg", ack="client-individual")
    for _ in range(50):
        message_id = await stage.push("alice")
        (got,) = peer.frames()
        if way == "/app/ack":
            peer.send("SEND", {"destination": way}, message_id)
        else:
            peer.send(way, {"id": got.headers["ack"]})
    assert peer.transport.reading

    for _ in range(5):
        peer.send("SEND", {"destination": "/app/ack"}, "x")
    assert not peer.transport.reading


async def test_heartbeats_are_free_of_charge() -> None:
    peer = await Stage(inbound_rate=1, inbound_burst=2).connected()

    peer.connection.receive(b"\n" * 10_000)

    assert peer.transport.reading


def test_strain_grows_while_a_frame_waits_and_shrinks_while_none_does() -> None:
    strain = Strain(10)
    strain.begin(10)
    strain.begin(12)
    assert strain.seconds(14) == 4
    strain.end(14)
    assert strain.seconds(15) == 3
    strain.begin(16)
    assert strain.seconds(20) == 6
    strain.end(20)
    assert strain.seconds(100) == 0
