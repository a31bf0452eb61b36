"""What does not come in time, and what a lost connection leaves behind."""

import asyncio
import gc

import pytest
from starlette.types import Receive, Scope, Send

from app.http.limits import EXPIRED_PER_TURN
from app.http.protocol import HttpProtocol
from tests.http.connections import BROKEN, EARLY, GET, HALF_BODY, HALF_HEAD, Gate, SlowWire, sweep, watch
from tests.http.wire import Recorder, connect, hang_up, ours, send, settle, statuses

# Timeouts


@pytest.mark.parametrize(
    ("sent", "seconds", "answer"),
    [
        ([], 10, []),
        ([b"\r\n"], 10, []),
        ([HALF_HEAD], 10, [408]),
        ([HALF_HEAD, b"-", b"-"], 10, [408]),
        ([HALF_BODY], 10, [408]),
        ([HALF_BODY.replace(b"Content-Length: 100000", b"Transfer-Encoding: chunked")[:-1] + b"1;a=", b"b"], 10, [408]),
        ([EARLY % 100_000], 10, [200]),
        ([GET % 1], 75, [200]),
        ([GET % 1, HALF_HEAD], 10, [200, 408]),
        ([GET % 1, b"\r\n"], 75, [200]),
    ],
)
async def test_late_input_closes_the_connection(sent: list[bytes], seconds: float, answer: list[int]) -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, sent)
    await sweep(clock, seconds - 2)
    assert not wire.is_closing()

    await sweep(clock, 2)
    assert (wire.is_closing(), statuses(wire.written), len(clock)) == (True, answer, 0)


async def test_timeout_of_a_head_is_not_extended_by_pieces() -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, [HALF_HEAD])
    for _ in range(12):
        await send(wire, [b"-"])
        await sweep(clock, 0)

    assert statuses(wire.written) == [408]


@pytest.mark.parametrize(("piece", "is_refused"), [(b"x", True), (b"x" * 1_100, False)])
async def test_body_must_arrive_at_the_minimum_rate(piece: bytes, is_refused: bool) -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, [HALF_BODY])
    for _ in range(40):
        await send(wire, [piece])
        await sweep(clock, 0)

    assert statuses(wire.written) == ([408] if is_refused else [])
    await hang_up(wire)


async def test_time_in_which_the_application_does_not_read_does_not_count() -> None:
    read = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read.wait()
        await Recorder()(scope, receive, send)

    clock = watch()
    for expecting in (b"", b"Expect: 100-continue\r\n"):
        wire = connect(ours(clock), app)
        head = HALF_BODY[:-3] + expecting + b"\r\n"
        await send(wire, [head, b"" if expecting else bytes(70_000)])
        await sweep(clock, 100)
        assert (wire.is_closing(), wire.written) == (False, b"")
        read.set()
        await settle()
        assert (b"100 Continue" in wire.written) is bool(expecting)
        await sweep(clock, 8)
        assert not wire.is_closing()
        await send(wire, [bytes(100_000 - (0 if expecting else 70_000))])
        assert statuses(wire.written)[-1] == 200
        await hang_up(wire)
        read.clear()


async def test_running_request_has_no_timeout(gate: Gate) -> None:
    clock = watch()
    wire = connect(ours(clock), gate)
    await send(wire, [GET % 1])
    await sweep(clock, 1_000)
    assert not wire.is_closing()
    gate.open.set()
    await settle()
    assert statuses(wire.written) == [200]
    await hang_up(wire)


async def test_peer_that_never_closes_is_aborted() -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder(), wire=SlowWire())
    await send(wire, [BROKEN])
    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([400], True, False)

    await sweep(clock, 3)
    assert wire.is_closing()


async def test_many_expired_connections_are_closed_a_few_per_turn() -> None:
    clock = watch()
    wires = [connect(ours(clock), Recorder()) for _ in range(3 * EXPIRED_PER_TURN)]
    for _ in range(clock.head_ticks - 1):
        clock.sweep()
    clock.sweep()
    assert sum(wire.is_closing() for wire in wires) == EXPIRED_PER_TURN

    await settle()
    assert all(wire.is_closing() for wire in wires)
    assert len(clock) == 0


# Memory after a lost connection


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize(
    "sent",
    [[], [HALF_HEAD], [GET % 1], [GET % 1 + GET % 2 + GET % 3], [HALF_BODY], [EARLY % 9], [BROKEN], [GET % 1 + BROKEN]],
)
@pytest.mark.parametrize("is_answered", [True, False])
async def test_lost_connection_leaves_no_objects(
    error: Exception | None, sent: list[bytes], is_answered: bool, gate: Gate
) -> None:
    """Without `_forget`, a reference cycle would keep a queued request."""
    gc.collect()
    gc.disable()
    try:
        before = alive()
        wire = connect(ours(), gate)
        if is_answered:
            gate.open.set()
        await send(wire, sent)
        wire.protocol.connection_lost(error)
        wire.protocol = None
        del wire
        await settle()
        await settle()
        assert not alive() - before
    finally:
        gc.enable()


def alive() -> set[int]:
    return {id(one) for one in gc.get_objects() if isinstance(one, HttpProtocol)}
