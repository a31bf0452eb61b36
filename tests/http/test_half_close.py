"""A peer that shuts down its side of the connection."""

import pytest
from starlette.types import Receive, Scope, Send

from tests.http.connections import BROKEN, GET, HALF_BODY, HALF_HEAD, Gate, SlowWire, Worker, shut_down, sweep, watch
from tests.http.wire import connect, ours, send, settle, statuses


@pytest.mark.parametrize("requests", [1, 2, 40])
@pytest.mark.parametrize("is_at_once", [True, False])
async def test_peer_that_shuts_down_its_side_gets_every_response(requests: int, is_at_once: bool) -> None:
    clock, worker = watch(), Worker()
    wire = connect(ours(clock), worker, wire=SlowWire())
    wire.protocol.data_received(b"".join(GET % number for number in range(requests)) + HALF_HEAD * (requests > 1))
    if not is_at_once:
        await settle()
    shut_down(wire)
    await sweep(clock, 100)
    assert not wire.is_closing()
    worker.open.set()
    for _ in range(requests):
        await settle()
    assert (statuses(wire.written), wire.is_closing()) == ([200] * requests, True)


async def test_refusal_reaches_a_peer_that_has_shut_down_its_side() -> None:
    worker = Worker()
    wire = connect(ours(), worker, wire=SlowWire())
    await send(wire, [GET % 1 + BROKEN])
    shut_down(wire)
    worker.open.set()
    await settle()
    assert (statuses(wire.written), wire.is_closing()) == ([200, 400], True)


@pytest.mark.parametrize("sent", [b"", GET % 1, HALF_BODY, GET % 1 + GET % 2])
async def test_application_that_waits_for_a_disconnect_gets_it_at_half_close(sent: bytes, gate: Gate) -> None:
    wire = connect(ours(), gate, wire=SlowWire())
    await send(wire, [sent])
    shut_down(wire)
    await settle()
    assert (wire.is_closing(), len(gate.disconnected), wire.written) == (True, len(gate.started), b"")


async def test_application_that_waits_for_a_disconnect_later_gets_it_then(gate: Gate) -> None:
    clock, worker = watch(), Worker()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (worker if scope["path"] == "/1" else gate)(scope, receive, send)

    wire = connect(ours(clock), app, wire=SlowWire())
    await send(wire, [b"".join(GET % number for number in range(1, 3))])
    shut_down(wire)
    worker.open.set()
    await settle()
    await sweep(clock, 2)
    assert (wire.is_closing(), gate.disconnected, statuses(wire.written)) == (True, ["/2"], [200])
