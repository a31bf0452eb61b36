"""One HTTP connection: what is pipelined, what ends early, what takes too long, and what is left of it."""

import asyncio
import gc

import pytest
from starlette.types import Receive, Scope, Send

from app.http.limits import EXPIRED_PER_TURN, HttpLimits, HttpWatch
from app.http.protocol import LARGE_READ_BYTES, MAX_HELD_BYTES, HttpProtocol
from app.http.reader import MAX_UNREAD_BYTES
from tests.http.wire import Recorder, Wire, connect, hang_up, ours, send, settle, statuses

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
EARLY = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx"
BROKEN = b"NONSENSE\r\n\r\n"


class Gate:
    """An application that answers once its gate is open. `/streaming` begins to answer before."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[str] = []
        self.disconnected: list[str] = []
        self.close = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started.append(scope["path"])
        headers = [(b"connection", b"close")] if self.close else []
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        is_streaming = scope["path"] == "/streaming"
        if is_streaming:
            await send(start)
        waiting = asyncio.create_task(self.open.wait())
        hearing = asyncio.create_task(self._hear(scope["path"], receive))
        await asyncio.wait((waiting, hearing), return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, hearing):
            task.cancel()
        if not is_streaming:
            await send(start)
        await send({"type": "http.response.body", "body": b"ok"})

    async def _hear(self, path: str, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.append(path)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


def watch(**limits: float) -> HttpWatch:
    return HttpWatch(HttpLimits(**limits))  # type: ignore[arg-type]  # numbers of both kinds


async def sweep(clock: HttpWatch, seconds: float) -> None:
    for _ in range(clock.ticks(seconds)):
        clock.sweep()
        await settle()


# Pipelining


async def test_many_requests_in_one_segment_are_answered_in_order_and_few_at_a_time() -> None:
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


async def test_peer_that_sends_on_and_on_is_not_read_while_a_request_is_under_way(gate: Gate) -> None:
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


async def test_running_request_learns_that_the_client_has_gone_whatever_came_after_it(gate: Gate) -> None:
    wire = connect(ours(), gate)
    await send(wire, [GET % 1 + GET % 2])
    await hang_up(wire)

    assert (gate.started, gate.disconnected) == (["/1"], ["/1"])


# What cannot be read


async def test_refusal_comes_after_the_answers_to_earlier_requests(gate: Gate) -> None:
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
async def test_broken_body_behind_its_answer_gets_no_second_one(path: bytes, gate: Gate) -> None:
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


async def test_trailers_are_no_headers() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await send(wire, [head, b"1\r\nx\r\n0\r\n", b"X-API-Key: stolen\r\nExpect: 100-continue\r\n\r\n"])

    assert dict(app.scopes[0]["headers"]) == {b"host": b"a", b"transfer-encoding": b"chunked"}
    assert statuses(wire.written) == [200]
    await hang_up(wire)


# Answers that come before the end of their request


async def test_connection_goes_on_after_a_body_that_nobody_read() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [EARLY % 5 + b"GET /", b"", GET % 1])

    assert [seen.path for seen in app.seen] == ["/early", "/1"]
    assert statuses(wire.written) == [200, 200]
    await hang_up(wire)


async def test_body_that_goes_on_after_its_answer_ends_the_connection() -> None:
    app = Recorder()
    wire = connect(ours(), app)
    await send(wire, [EARLY % (10 * MAX_UNREAD_BYTES), bytes(MAX_UNREAD_BYTES)])
    assert not wire.is_closing()

    await send(wire, [b"x"])
    assert (wire.is_closing(), statuses(wire.written)) == (True, [200])


class SlowWire(Wire):
    """The peer does not hang up when it is told that nothing more comes."""

    has_ended = False

    def write_eof(self) -> None:
        self.has_ended = True


async def test_early_answer_that_ends_the_connection_is_not_overtaken_by_a_reset(gate: Gate) -> None:
    clock = watch()
    wire = connect(ours(clock), gate, wire=SlowWire())
    gate.close = True
    gate.open.set()
    await send(wire, [HALF_BODY])
    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([200], True, False)

    await send(wire, [b"x" * 200_000 + GET % 1])  # is read, and left at that
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


async def test_server_that_stops_does_not_wait_for_the_peer_to_hang_up(gate: Gate) -> None:
    wire = connect(ours(), gate, wire=SlowWire())
    await send(wire, [GET % 1])
    wire.protocol.shutdown()
    gate.open.set()
    await settle()

    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([200], False, True)


async def test_server_that_stops_waits_for_a_body_as_long_as_it_comes() -> None:
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
async def test_body_of_http_1_0_is_not_asked_for(version: bytes, is_asked: bool) -> None:
    """RFC 9110 section 10.1.1: a server must ignore the expectation of an older client, which knows no 100."""
    wire = connect(ours(), Recorder())
    await send(wire, [b"POST / HTTP/%b\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n" % version])
    assert (b"100 Continue" in wire.written) is is_asked
    await send(wire, [b"x"])
    assert b" 200 " in wire.written
    await hang_up(wire)


async def test_slow_reader_of_the_last_response_has_the_time_of_an_idle_connection(gate: Gate) -> None:
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


# A peer that does not read


def fill(wire: Wire, unsent: int) -> None:
    """As a transport whose peer does not read."""
    wire.unsent = unsent
    wire.protocol.pause_writing()


def read(wire: Wire, unsent: int) -> None:
    wire.unsent = unsent
    if not unsent:
        wire.protocol.resume_writing()


@pytest.mark.parametrize("sent", [GET % 1, GET % 1 + GET % 2 + BROKEN, GET % 1 + HALF_BODY])
@pytest.mark.parametrize("has_shut_down", [True, False])
async def test_response_that_is_not_read_ends_its_connection(sent: bytes, has_shut_down: bool) -> None:
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


async def test_response_that_was_read_in_time_leaves_its_request_without_limit() -> None:
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


async def test_response_that_is_not_read_makes_room() -> None:
    wire = connect(ours(), Worker(), wire=SlowWire())
    await send(wire, [GET % 1])
    assert [wire.protocol.displace() for _ in range(2)] == [False, False]
    fill(wire, 100_000)
    assert (wire.protocol.displace(), wire.is_closing()) == (True, True)


async def test_server_that_stops_does_not_wait_for_a_response_that_is_not_read() -> None:
    clock = watch()
    wire = connect(ours(clock), Worker(), wire=SlowWire())
    await send(wire, [GET % 1])
    fill(wire, 100_000)
    wire.protocol.shutdown()
    await sweep(clock, 3)
    assert wire.is_closing()


# A peer that shuts down its side


class Worker:
    """An application that reads the body and works on it while its gate is shut, and listens for nothing."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def shut_down(wire: Wire) -> None:
    """As a transport: it closes unless the protocol says that it stays."""
    if not wire.protocol.eof_received():
        wire.close()


@pytest.mark.parametrize("requests", [1, 2, 40])
@pytest.mark.parametrize("is_at_once", [True, False])
async def test_peer_that_shuts_down_its_side_gets_every_answer(requests: int, is_at_once: bool) -> None:
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
async def test_application_that_listens_is_told_that_the_peer_has_shut_down_its_side(sent: bytes, gate: Gate) -> None:
    wire = connect(ours(), gate, wire=SlowWire())
    await send(wire, [sent])
    shut_down(wire)
    await settle()
    assert (wire.is_closing(), len(gate.disconnected), wire.written) == (True, len(gate.started), b"")


async def test_application_that_listens_later_is_told_then(gate: Gate) -> None:
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


# Time


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
async def test_what_does_not_come_in_time_ends_the_connection(
    sent: list[bytes], seconds: float, answer: list[int]
) -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, sent)
    await sweep(clock, seconds - 2)
    assert not wire.is_closing()

    await sweep(clock, 2)
    assert (wire.is_closing(), statuses(wire.written), len(clock)) == (True, answer, 0)


async def test_head_has_no_more_time_for_coming_bit_by_bit() -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, [HALF_HEAD])
    for _ in range(12):
        await send(wire, [b"-"])
        await sweep(clock, 0)

    assert statuses(wire.written) == [408]


@pytest.mark.parametrize(("piece", "is_refused"), [(b"x", True), (b"x" * 1_100, False)])
async def test_body_has_to_come_at_the_least_rate(piece: bytes, is_refused: bool) -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder())
    await send(wire, [HALF_BODY])
    for _ in range(40):
        await send(wire, [piece])
        await sweep(clock, 0)

    assert statuses(wire.written) == ([408] if is_refused else [])
    await hang_up(wire)


async def test_time_in_which_the_application_does_not_read_is_not_the_peers() -> None:
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


async def test_request_that_is_under_way_has_no_limit(gate: Gate) -> None:
    clock = watch()
    wire = connect(ours(clock), gate)
    await send(wire, [GET % 1])
    await sweep(clock, 1_000)
    assert not wire.is_closing()
    gate.open.set()
    await settle()
    assert statuses(wire.written) == [200]
    await hang_up(wire)


async def test_peer_that_never_hangs_up_is_cut_off() -> None:
    clock = watch()
    wire = connect(ours(clock), Recorder(), wire=SlowWire())
    await send(wire, [BROKEN])
    assert (statuses(wire.written), wire.has_ended, wire.is_closing()) == ([400], True, False)

    await sweep(clock, 3)
    assert wire.is_closing()


async def test_flood_of_late_connections_is_ended_bit_by_bit() -> None:
    clock = watch()
    wires = [connect(ours(clock), Recorder()) for _ in range(3 * EXPIRED_PER_TURN)]
    for _ in range(clock.head_ticks - 1):
        clock.sweep()
    clock.sweep()
    assert sum(wire.is_closing() for wire in wires) == EXPIRED_PER_TURN

    await settle()
    assert all(wire.is_closing() for wire in wires)
    assert len(clock) == 0


# What is left


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize(
    "sent",
    [[], [HALF_HEAD], [GET % 1], [GET % 1 + GET % 2 + GET % 3], [HALF_BODY], [EARLY % 9], [BROKEN], [GET % 1 + BROKEN]],
)
@pytest.mark.parametrize("is_answered", [True, False])
async def test_connection_that_was_lost_leaves_nothing(
    error: Exception | None, sent: list[bytes], is_answered: bool, gate: Gate
) -> None:
    """An idle connection that was reset used to be held by a timer for 75 s, a queued request by a cycle for ever."""
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
