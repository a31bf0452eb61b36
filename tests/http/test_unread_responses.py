"""A peer that does not read its response."""

import pytest

from tests.http.connections import BROKEN, GET, HALF_BODY, Gate, SlowWire, Worker, read, shut_down, sweep, watch
from tests.http.wire import Wire, connect, hang_up, ours, send, settle, statuses


def fill(wire: Wire, unsent: int) -> None:
    """Make the transport behave as if its peer did not read."""
    wire.unsent = unsent
    wire.protocol.pause_writing()


@pytest.mark.parametrize("sent", [GET % 1, GET % 1 + GET % 2 + BROKEN, GET % 1 + HALF_BODY])
@pytest.mark.parametrize("has_shut_down", [True, False])
async def test_unread_response_aborts_its_connection(sent: bytes, has_shut_down: bool) -> None:
    clock = watch(keep_alive_s=20, body_timeout_s=90)
    wire = connect(ours(clock), Worker(), wire=SlowWire())
    await send(wire, [sent])
    fill(wire, 100_000)
    if has_shut_down:
        shut_down(wire)
    await sweep(clock, 15)
    assert not wire.is_closing()
    await sweep(clock, 10)
    assert wire.is_closing()


@pytest.mark.parametrize("is_last", [True, False])
async def test_response_that_is_read_at_the_minimum_rate_is_sent_to_its_end(is_last: bool, gate: Gate) -> None:
    clock = watch(keep_alive_s=20, min_body_rate=1_000)
    wire = connect(ours(clock), gate, wire=SlowWire())
    gate.close = is_last
    gate.open.set()
    await send(wire, [GET % 1])
    fill(wire, 100_000)
    for unsent in (79_000, 58_000, 37_000):
        read(wire, unsent)
        await sweep(clock, 20)
        assert not wire.is_closing()
    read(wire, 0)
    await sweep(clock, 30)
    assert wire.is_closing()


async def test_request_has_no_timeout_again_once_its_response_is_read() -> None:
    clock, worker = watch(), Worker()
    wire = connect(ours(clock), worker, wire=SlowWire())
    await send(wire, [GET % 1])
    fill(wire, 100_000)
    read(wire, 0)
    await sweep(clock, 1_000)
    assert not wire.is_closing()
    worker.open.set()
    await settle()
    assert statuses(wire.written) == [200]
    await hang_up(wire)


async def test_connection_with_an_unread_response_makes_room() -> None:
    wire = connect(ours(), Worker(), wire=SlowWire())
    await send(wire, [GET % 1])
    assert [wire.protocol.displace() for _ in range(2)] == [False, False]
    fill(wire, 100_000)
    assert (wire.protocol.displace(), wire.is_closing()) == (True, True)


async def test_shutdown_does_not_wait_for_an_unread_response() -> None:
    clock = watch()
    wire = connect(ours(clock), Worker(), wire=SlowWire())
    await send(wire, [GET % 1])
    fill(wire, 100_000)
    wire.protocol.shutdown()
    await sweep(clock, 3)
    assert wire.is_closing()
