"""Pipelined requests, and a peer that sends on while one is under way."""

from app.http.protocol import MAX_HELD_BYTES
from tests.http.connections import GET, Gate
from tests.http.wire import Recorder, connect, hang_up, ours, send, settle, statuses


async def test_many_requests_in_one_segment_get_responses_in_order_and_run_a_few_at_a_time() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    requests = b"".join(GET % number for number in range(5_000))
    most = 0
    wire.protocol.data_received(requests)
    while len(app.seen) < 5_000 and not wire.is_closing():
        most = max(most, len(wire.protocol.pipeline))
        await settle()

    assert [seen.path for seen in app.seen] == [f"/{number}" for number in range(5_000)]
    assert statuses(wire.written) == [200] * 5_000
    assert most < 8_192 // len(GET)
    await hang_up(wire)


async def test_reading_pauses_when_too_much_is_pipelined_behind_a_running_request(gate: Gate) -> None:
    wire = connect(ours(), gate)
    await send(wire, [GET % 1])
    for number in range(MAX_HELD_BYTES // len(GET) + 10):
        wire.protocol.data_received(GET % number)
    assert wire.is_paused
    assert gate.started == ["/1"]

    gate.open.set()
    await settle()
    assert not wire.is_paused
    await hang_up(wire)


async def test_running_request_is_disconnected_although_others_are_queued(gate: Gate) -> None:
    wire = connect(ours(), gate)
    await send(wire, [GET % 1 + GET % 2])
    await hang_up(wire)

    assert (gate.started, gate.disconnected) == (["/1"], ["/1"])
