"""Responses that come before the end of their request."""

import pytest

from app.http.reader import MAX_UNREAD_BYTES
from tests.http.connections import EARLY, GET, HALF_BODY, Gate, SlowWire, sweep, watch
from tests.http.wire import Recorder, connect, hang_up, ours, send, settle, statuses


async def test_connection_is_reused_after_an_unread_body() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [EARLY % 5 + b"GET /", b"", GET % 1])

    assert [seen.path for seen in app.seen] == ["/early", "/1"]
    assert statuses(wire.written) == [200, 200]
    await hang_up(wire)


async def test_long_rest_of_a_body_after_its_response_closes_the_connection() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [EARLY % (10 * MAX_UNREAD_BYTES), bytes(MAX_UNREAD_BYTES)])
    assert not wire.is_closing()

    await send(wire, [b"x"])
    assert (wire.is_closing(), statuses(wire.written)) == (True, [200])


async def test_early_last_response_is_not_overtaken_by_a_reset(gate: Gate) -> None:
    clock = watch()
    wire = connect(ours(clock), gate, wire=SlowWire())
    gate.close = True
    gate.open.set()
    await send(wire, [HALF_BODY])
    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([200], True, False)

    await send(wire, [b"x" * 200_000 + GET % 1])  # is read and discarded
    assert gate.started == ["/"]
    await sweep(clock, 3)
    assert wire.is_closing()


async def test_last_response_of_a_connection_is_not_overtaken_by_a_reset(gate: Gate) -> None:
    clock = watch()
    wire = connect(ours(clock), gate, wire=SlowWire())
    gate.close = True
    gate.open.set()
    await send(wire, [GET % 1, GET % 2])
    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([200], True, False)

    assert gate.started == ["/1"]
    await sweep(clock, 3)
    assert wire.is_closing()


async def test_shutdown_does_not_wait_for_the_peer_to_close(gate: Gate) -> None:
    wire = connect(ours(), gate, wire=SlowWire())
    await send(wire, [GET % 1])
    wire.protocol.shutdown()
    gate.open.set()
    await settle()

    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([200], False, True)


async def test_shutdown_waits_for_a_body_while_it_arrives() -> None:
    clock = watch()
    silent, steady = (connect(ours(clock), Recorder(), wire=SlowWire()) for _ in range(2))
    for wire in (silent, steady):
        await send(wire, [EARLY.replace(b"early", b"") % 4])
        wire.protocol.shutdown()
    for _ in range(4):
        await sweep(clock, 1)
        await send(steady, [b"x"])
    assert (statuses(silent.written), silent.has_ended) == ([408], True)
    assert (statuses(steady.written), steady.is_closing()) == ([200], True)


@pytest.mark.parametrize(("version", "is_asked"), [(b"1.0", False), (b"1.1", True)])
async def test_http_1_0_request_gets_no_100_continue(version: bytes, is_asked: bool) -> None:
    """RFC 9110 section 10.1.1: a server must ignore the expectation of an HTTP/1.0 client."""
    wire = connect(ours(), Recorder())
    await send(wire, [b"POST / HTTP/%b\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n" % version])
    assert (b"100 Continue" in wire.written) is is_asked
    await send(wire, [b"x"])
    assert b" 200 " in wire.written
    await hang_up(wire)


async def test_slow_reader_of_the_last_response_has_the_keep_alive_time(gate: Gate) -> None:
    clock = watch(keep_alive_s=20)
    wire = connect(ours(clock), gate, wire=SlowWire())
    wire.unsent = 1
    gate.close = True
    gate.open.set()
    await send(wire, [GET % 1])
    await sweep(clock, 15)
    assert not wire.is_closing()
    await sweep(clock, 10)
    assert wire.is_closing()
