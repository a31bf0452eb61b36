"""Bodies in many small chunks, and large reads."""

import pytest

from app.http.limits import HttpLimits
from app.http.protocol import LARGE_READ_BYTES
from app.http.reader import MAX_UNREAD_BYTES
from tests.http.connections import EARLY, Gate
from tests.http.wire import Recorder, connect, hang_up, ours, send, settle, statuses

CHUNKED = b"POST /%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "answer"), [pytest.param(b"", [413], id="before its answer"), pytest.param(b"early", [200], id="after it")]
)
@pytest.mark.parametrize("size", [10, 8_000, 100_000])
async def test_chunks_with_more_framing_than_content_are_refused(path: bytes, answer: list[int], size: int) -> None:
    wire = connect(ours(), Recorder())
    await send(wire, [CHUNKED % path])
    flood = b"1\r\nx\r\n" * (size // 6)
    sent = 0
    while not wire.is_closing() and sent <= MAX_UNREAD_BYTES:
        await send(wire, [flood])
        sent += len(flood)

    assert statuses(wire.written) == answer
    assert wire.is_closing()
    assert sent < HttpLimits().max_head_bytes * 2 + size


async def test_body_in_small_chunks_is_read() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [CHUNKED % b"", *[b"5\r\nhello\r\n" * 1_000] * 50, b"0\r\n\r\n"])

    assert app.seen[0].body == b"hello" * 50_000
    await hang_up(wire)


async def test_fast_peer_leaves_the_loop_to_others(gate: Gate) -> None:
    wire = connect(ours(), gate)
    wire.protocol.data_received(EARLY % 1_000_000 + bytes(60_000))
    assert not wire.is_paused
    gate.open.set()
    await settle()

    wire.protocol.data_received(bytes(LARGE_READ_BYTES))
    assert wire.is_paused
    await settle()
    assert not wire.is_paused
    await hang_up(wire)
