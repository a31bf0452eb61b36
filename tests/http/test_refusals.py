"""Requests that cannot be read: one refusal, after the responses to earlier requests."""

import pytest

from tests.http.connections import BROKEN, GET, Gate
from tests.http.wire import Recorder, connect, hang_up, ours, send, settle, statuses


async def test_refusal_follows_the_responses_to_earlier_requests(gate: Gate) -> None:
    wire = connect(ours(), gate)
    await send(wire, [GET % 1 + GET % 2 + BROKEN, GET % 3])
    assert (wire.written, wire.is_closing()) == (b"", False)

    gate.open.set()
    await settle()
    await settle()
    assert statuses(wire.written) == [200, 200, 400]
    assert (gate.started, wire.is_closing()) == (["/1", "/2"], True)


async def test_broken_body_is_refused_and_its_request_ends() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"nonsense\r\n"])

    assert (statuses(wire.written), wire.is_closing(), app.seen) == ([400], True, [])


@pytest.mark.parametrize("path", [b"/early", b"/streaming"])
async def test_broken_body_after_its_response_gets_no_second_response(path: bytes, gate: Gate) -> None:
    wire = connect(ours(), Recorder() if path == b"/early" else gate)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" % path
    await send(wire, [head, b"nonsense\r\n"])

    assert (statuses(wire.written), wire.is_closing()) == ([200], True)


async def test_broken_body_of_a_queued_request_is_refused_in_its_turn(gate: Gate) -> None:
    wire = connect(ours(), gate)
    queued = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    await send(wire, [GET % 1 + queued])
    gate.open.set()
    await settle()

    assert (gate.started, statuses(wire.written)) == (["/1"], [200, 400])


async def test_trailers_are_not_passed_on_as_headers() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await send(wire, [head, b"1\r\nx\r\n0\r\n", b"X-API-Key: stolen\r\nExpect: 100-continue\r\n\r\n"])

    assert dict(app.scopes[0]["headers"]) == {b"host": b"a", b"transfer-encoding": b"chunked"}
    assert statuses(wire.written) == [200]
    await hang_up(wire)
